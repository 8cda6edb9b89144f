package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/api/v1alpha1"
)

// State of a rollout.
type State string

// States of a rollout.
const (
	// Running: nodes are being changed, or would be if somebody drove it.
	Running State = "running"
	// Paused: somebody paused it; nothing more starts until it is resumed.
	Paused State = "paused"
	// Failed: a canary failed or the failure budget is spent; nothing more starts until it is resumed.
	Failed State = "failed"
	// Aborted: it was ended; nothing more starts.
	Aborted State = "aborted"
	// Complete: every node had its turn.
	Complete State = "complete"
)

// Open says whether a rollout can go on.
func (s State) Open() bool { return s == Running || s == Paused || s == Failed }

// Outcome is how far a node is.
type Outcome string

// Outcomes of a node.
const (
	// Pending: its turn has not come.
	Pending Outcome = "pending"
	// Started: it was given the change.
	Started Outcome = "started"
	// Verifying: it runs the change, and its health gate is not passed yet.
	Verifying Outcome = "verifying"
	// Done: it runs the change and passed its health gate.
	Done Outcome = "done"
	// NodeFailed: the change failed, or the gate did.
	NodeFailed Outcome = "failed"
	// Skipped: nothing was done, as when it is paused, or gone.
	Skipped Outcome = "skipped"
)

// Ended says whether nothing more is expected of a node.
func (o Outcome) Ended() bool { return o == Done || o == NodeFailed || o == Skipped }

// Strategy of a rollout: what each part protects against is in docs/rollouts.md.
type Strategy struct {
	// Canary is how many nodes go first; 0 for none.
	Canary int `json:"canary"`
	// Bake is how long the canaries are watched before the rest starts.
	Bake time.Duration `json:"bake"`
	// MaxUnavailable is the width of a wave, and Width what it comes to.
	MaxUnavailable intstr.IntOrString `json:"maxUnavailable"`
	Width          int                `json:"width"`
	// MaxFailures is how many nodes may fail before nothing more starts.
	MaxFailures int `json:"maxFailures"`
	// Continue goes on whatever fails, except a canary.
	Continue bool `json:"continue,omitempty"`
	// IncludeValidators has validators go last, one at a time.
	IncludeValidators bool `json:"includeValidators,omitempty"`
	// ForceManaged edits objects that are managed from a repository.
	ForceManaged bool `json:"forceManaged,omitempty"`
	// GateTimeout is how long the health gate of a node may take.
	GateTimeout time.Duration `json:"gateTimeout"`
}

// Record is one rollout: all that whoever goes on with it, or takes it back, has to know.
type Record struct {
	// Name of the rollout, and of its ConfigMap.
	Name  string `json:"name"`
	Chain string `json:"chain"`
	// Action is enable-tls, disable-tls or undo; Undoes names the rollout that an undo takes back.
	Action string `json:"action"`
	Undoes string `json:"undoes,omitempty"`
	// Who started it, and with which command.
	Who     string `json:"who"`
	Command string `json:"command"`
	// Digest of selection, target, strategy and what was there before.
	Digest    string    `json:"digest"`
	Selection Selection `json:"selection"`
	Strategy  Strategy  `json:"strategy"`

	State State `json:"state"`
	// Reason of the state in one line, and By who brought it about.
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`
	// Driver that runs it now; empty for nobody.
	Driver string `json:"driver,omitempty"`

	StartedAt time.Time `json:"startedAt"`
	// EndedAt is when it came to rest last.
	EndedAt *time.Time `json:"endedAt,omitempty"`
	// BakeFrom is when the canaries had passed their gates.
	BakeFrom *time.Time `json:"bakeFrom,omitempty"`
	// Baked says that the canaries still passed them after the bake.
	Baked bool `json:"baked,omitempty"`

	Objects []ObjectRecord `json:"objects"`
	Nodes   []NodeRecord   `json:"nodes"`
	// Left are nodes of the selection that the rollout leaves alone, and why.
	Left []LeftRecord `json:"left,omitempty"`
}

// ObjectRecord is one object that is edited.
type ObjectRecord struct {
	Object
	// UID that it had when the rollout was planned, or went on last.
	UID types.UID `json:"uid,omitempty"`
	// Found is the TLS that it asked for when the rollout was planned; nil for off. It is not Previous where the rollout takes
	// the place of one that failed.
	Found *v1alpha1.SidecarTLSConfig `json:"found"`
	// Previous is the TLS that an undo returns to, and Target the TLS after; nil for off.
	Previous *v1alpha1.SidecarTLSConfig `json:"previous"`
	Target   *v1alpha1.SidecarTLSConfig `json:"target"`
	// Edited says that it was written.
	Edited bool `json:"edited,omitempty"`
	// Withheld are ordinals of children that the rollout leaves alone: they keep what they have when it ends.
	Withheld []int `json:"withheld,omitempty"`
	// Clean says that what only the rollout needed was taken away again.
	Clean bool `json:"clean,omitempty"`
}

// NodeRecord is one node.
type NodeRecord struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// UID that it had when the rollout was planned, or went on last.
	UID  types.UID `json:"uid,omitempty"`
	Mode string    `json:"mode"`
	// Object is the index of what is edited for it.
	Object int `json:"object"`
	// Wave in which it goes, from 0; wave 0 is the canaries' where there are any.
	Wave int `json:"wave"`
	// Was is the TLS that it was observed to run before.
	Was string `json:"was"`
	// Restart says that its pod is cycled.
	Restart bool    `json:"restart,omitempty"`
	Outcome Outcome `json:"outcome"`
	// Detail says what it waits for, or why it failed.
	Detail string `json:"detail,omitempty"`
	// Gone says of a skipped node that it does not exist any more: it was deleted, or scaled away.
	Gone bool `json:"gone,omitempty"`
	// StartedAt, AtTargetAt and EndedAt are when it was given the change, ran it (or when it was looked at anew, as in the
	// bake), and came to its end.
	StartedAt  *time.Time `json:"startedAt,omitempty"`
	AtTargetAt *time.Time `json:"atTargetAt,omitempty"`
	EndedAt    *time.Time `json:"endedAt,omitempty"`
	// Retry is the request for another attempt that must be on the node for a failure to count.
	Retry string `json:"retry,omitempty"`
	// Again says that its turn comes after a failure.
	Again bool `json:"again,omitempty"`
	// WaitsSince is since when its SeiNodeDeployment has no slot to give it the template in.
	WaitsSince *time.Time `json:"waitsSince,omitempty"`
	// FellAt is since when a canary is not healthy in the bake, and Fell why it was not last.
	FellAt *time.Time `json:"fellAt,omitempty"`
	Fell   string     `json:"fell,omitempty"`
}

// anew forgets what became of a node.
func (n *NodeRecord) anew(o Outcome) {
	n.Outcome, n.Detail, n.Gone, n.Fell = o, "", false, ""
	n.StartedAt, n.AtTargetAt, n.EndedAt, n.WaitsSince, n.FellAt = nil, nil, nil, nil, nil
}

// underWay says whether a node has the change, and has not come to its end.
func (n *NodeRecord) underWay() bool { return n.Outcome == Started || n.Outcome == Verifying }

// Key is namespace and name.
func (n *NodeRecord) Key() types.NamespacedName {
	return types.NamespacedName{Namespace: n.Namespace, Name: n.Name}
}

// LeftRecord is one node that is left alone.
type LeftRecord struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Need      Need   `json:"need"`
	Reason    string `json:"reason"`
}

// Waves is how many there are.
func (r *Record) Waves() int {
	waves := 0
	for i := range r.Nodes {
		waves = max(waves, r.Nodes[i].Wave+1)
	}
	return waves
}

// Count of nodes by outcome.
func (r *Record) Count() map[Outcome]int {
	out := map[Outcome]int{}
	for i := range r.Nodes {
		out[r.Nodes[i].Outcome]++
	}
	return out
}

// CanaryWave says whether a wave is the canaries'.
func (r *Record) CanaryWave(wave int) bool { return wave == 0 && r.Strategy.Canary > 0 }

// WaveName is a wave as people read it.
func (r *Record) WaveName(wave int) string {
	if r.CanaryWave(wave) {
		return "canary"
	}
	if r.Strategy.Canary == 0 {
		wave++
	}
	return fmt.Sprintf("wave %d", wave)
}

// Clone is a deep copy.
func (r *Record) Clone() *Record {
	out := *r
	out.Objects = append([]ObjectRecord(nil), r.Objects...)
	out.Nodes = append([]NodeRecord(nil), r.Nodes...)
	return &out
}

// MaxRecord is the size in bytes above which a record is refused: an object in etcd may have 1.5 MiB, a ConfigMap 1 MiB.
const MaxRecord = 900 << 10

// perNode is what the outcome of a node may add to a record, in bytes.
const perNode = 150

// ErrTooLarge says that a rollout has more nodes than one record holds.
var ErrTooLarge = errors.New("the record of the rollout is too large for a ConfigMap")

// Encode is the record as its ConfigMap holds it.
func (r *Record) Encode() (string, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encoding the record of rollout %s: %w", r.Name, err)
	}
	return string(data), nil
}

// Fits says whether the record and what its outcomes will add fit into a ConfigMap.
func (r *Record) Fits() error {
	data, err := r.Encode()
	if err != nil {
		return err
	}
	if size := len(data) + perNode*len(r.Nodes); size > MaxRecord {
		return fmt.Errorf("%w: %d nodes would need %d KiB of at most %d; next: narrow the selection with --mode, -l or -n, and run one rollout after the other",
			ErrTooLarge, len(r.Nodes), size>>10, MaxRecord>>10)
	}
	return nil
}

// Decode reads a record.
func Decode(data string) (*Record, error) {
	var r Record
	if err := json.Unmarshal([]byte(data), &r); err != nil {
		return nil, fmt.Errorf("reading the record of a rollout: %w", err)
	}
	return &r, nil
}

// digest of what a rollout is about: the same command over the same fleet has the same one.
func (r *Record) digest() string {
	type object struct {
		Object
		Previous, Target string
	}
	content := struct {
		Chain, Action, Undoes string
		Selection             Selection
		Strategy              Strategy
		Objects               []object
		Nodes                 []string
	}{Chain: r.Chain, Action: r.Action, Undoes: r.Undoes, Selection: r.Selection, Strategy: r.Strategy}
	for _, o := range r.Objects {
		content.Objects = append(content.Objects, object{o.Object, o.Previous.String(), o.Target.String()})
	}
	for i := range r.Nodes {
		content.Nodes = append(content.Nodes, r.Nodes[i].Key().String())
	}
	data, err := json.Marshal(content)
	if err != nil {
		// Strings and numbers only.
		panic(fmt.Sprintf("encoding a digest: %v", err))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
