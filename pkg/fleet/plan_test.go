package fleet_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/fleet"
)

func TestNeeds(t *testing.T) {
	t.Parallel()
	notReady := func(n *v1alpha1.SeiNode) {
		condition(n, v1alpha1.ConditionSidecarReady, metav1.ConditionFalse, v1alpha1.ReasonNotReady, "")
	}
	for name, tc := range map[string]struct {
		edit   func(*v1alpha1.SeiNode)
		after  func(*v1alpha1.SeiNode)
		goal   *v1alpha1.SidecarTLSConfig
		need   fleet.Need
		reason string
		cycles int
	}{
		"off to issuer":      {goal: issuerTLS, need: fleet.NeedToggle, cycles: 1},
		"there already":      {edit: tls(issuerTLS), goal: &v1alpha1.SidecarTLSConfig{IssuerName: "pacific-1-ca"}, need: fleet.NeedNothing},
		"issuer to issuer":   {edit: tls(otherTLS), goal: issuerTLS, need: fleet.NeedReload},
		"issuer to off":      {edit: tls(otherTLS), need: fleet.NeedToggle, cycles: 1},
		"off to off":         {need: fleet.NeedNothing},
		"secret to issuer":   {edit: tls(secretTLS), goal: issuerTLS, need: fleet.NeedToggle, cycles: 1},
		"reverted, still on": {edit: tls(issuerTLS), after: func(n *v1alpha1.SeiNode) { n.Spec.Sidecar = nil }, goal: issuerTLS, need: fleet.NeedEdit},
		"a validator":        {edit: validator, goal: issuerTLS, need: fleet.NeedValidator, reason: "--include-validators"},
		"paused":             {edit: pausedNode, goal: issuerTLS, need: fleet.NeedPaused, reason: "spec.paused"},
		"Argo CD by label":   {edit: labelled("app.kubernetes.io/instance", "sei"), goal: issuerTLS, need: fleet.NeedManaged, reason: "Argo CD application sei"},
		"Flux kustomization": {edit: labelled("kustomize.toolkit.fluxcd.io/name", "nodes"), goal: issuerTLS, need: fleet.NeedManaged, reason: "Flux Kustomization nodes"},
		"Flux release":       {edit: labelled("helm.toolkit.fluxcd.io/name", "nodes"), goal: issuerTLS, need: fleet.NeedManaged, reason: "Flux HelmRelease nodes"},
		"managed, yet there": {edit: func(n *v1alpha1.SeiNode) { tls(issuerTLS)(n); labelled(fluxLabel, "x")(n) }, goal: issuerTLS, need: fleet.NeedNothing},
		"pod not Ready":      {after: notReady, goal: issuerTLS, need: fleet.NeedBlocked, reason: "not Ready"},
		"initializing":       {after: func(n *v1alpha1.SeiNode) { n.Status.Phase = v1alpha1.PhaseInitializing }, goal: issuerTLS, need: fleet.NeedBlocked, reason: "Initializing"},
		"being deleted":      {after: func(n *v1alpha1.SeiNode) { at := metav1.NewTime(now); n.DeletionTimestamp = &at }, goal: issuerTLS, need: fleet.NeedBlocked, reason: "being deleted"},
		"image drifts":       {after: func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" }, goal: issuerTLS, need: fleet.NeedBlocked, reason: "image drifts"},
		"in another plan":    {after: active(otherTLS), goal: issuerTLS, need: fleet.NeedBlocked, reason: "middle of a plan: NodeUpdate, task 1/1 replace-pod"},
		"under way":          {after: func(n *v1alpha1.SeiNode) { tls(issuerTLS)(n); active(issuerTLS)(n) }, goal: issuerTLS, need: fleet.NeedToggle, reason: "under way", cycles: 1},
		"a foreign parent": {after: func(n *v1alpha1.SeiNode) {
			yes := true
			n.OwnerReferences = []metav1.OwnerReference{{APIVersion: "x/v1", Kind: "NodePool", Name: "p", Controller: &yes}}
		}, goal: issuerTLS, need: fleet.NeedBlocked, reason: "NodePool p"},
		"held on the target": {after: func(n *v1alpha1.SeiNode) {
			n.Status.Hold = &v1alpha1.Hold{Target: v1alpha1.PlanTarget{Image: n.Spec.Image, SidecarTLS: issuerTLS}, Reason: "no proxy"}
		}, goal: issuerTLS, need: fleet.NeedToggle, reason: "tried again: no proxy", cycles: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			edit := tc.edit
			if edit == nil {
				edit = func(*v1alpha1.SeiNode) {}
			}
			n := w.node("ax-0", edit)
			if tc.after != nil {
				tc.after(n)
			}
			p, r := w.build(fleet.Goal{TLS: tc.goal}, w.strategy())
			require.Len(t, p.Nodes, 1)
			require.Equal(t, tc.need, p.Nodes[0].Need, p.Nodes[0].Reason)
			require.Contains(t, p.Nodes[0].Reason, tc.reason)
			require.Equal(t, tc.cycles, p.Nodes[0].PodCycles)
			require.Equal(t, tc.need.Works(), len(r.Nodes) == 1)
		})
	}
}

const fluxLabel = "kustomize.toolkit.fluxcd.io/name"

func active(c *v1alpha1.SidecarTLSConfig) func(*v1alpha1.SeiNode) {
	return func(n *v1alpha1.SeiNode) {
		n.Status.Plan = &v1alpha1.Plan{Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive, Target: v1alpha1.PlanTarget{SidecarTLS: c},
			Tasks: []v1alpha1.Task{{Type: v1alpha1.TaskReplacePod, Status: v1alpha1.TaskRunning}}}
	}
}

func TestWaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("old-0", archive)
	w.snd("syncer", 4, 1)
	w.node("ax-0")
	w.node("val-0", validator)
	w.node("val-1", validator)
	names := func(p *fleet.Plan) (out []string) {
		for _, wave := range p.Waves {
			out = append(out, wave.Name+": "+strings.ReplaceAll(strings.Join(wave.Nodes, " "), "fleet/", ""))
		}
		return out
	}
	s := w.strategy()
	s.IncludeValidators, s.MaxUnavailable = true, intstr.FromString("50%")
	p, _ := w.build(enable, s)
	require.Equal(t, 4, p.Strategy.Width, "half of eight nodes")
	require.Equal(t, []string{
		"canary: ax-0", "wave 1: syncer-0 old-0", "wave 2: syncer-1", "wave 3: syncer-2", "wave 4: syncer-3",
		"wave 5: val-0", "wave 6: val-1",
	}, names(p), "the SeiNodeDeployment's own maxUnavailable is respected, validators are last")

	s.Canary, s.IncludeValidators = 2, false
	w.budget = intstr.FromInt32(1)
	p, _ = w.build(enable, s)
	require.Equal(t, []string{"canary: ax-0 syncer-0", "wave 1: syncer-1", "wave 2: syncer-2", "wave 3: syncer-3", "wave 4: old-0"}, names(p))
	require.Contains(t, p.Warnings[0], "is more than the budget of chain pacific-1, which is 1")
	require.Equal(t, 2, p.Needs(fleet.NeedValidator))
}

func TestEstimateAndBudgetWarnings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.budget = intstr.FromInt32(1)
	for i := range 3 {
		n := w.node(fmt.Sprintf("ax-%d", i))
		n.Status.LastPlan = &v1alpha1.PlanSummary{Outcome: v1alpha1.PlanComplete, PodCycle: &metav1.Duration{Duration: time.Duration(i+1) * time.Minute}}
	}
	s := w.strategy()
	s.Bake = time.Hour
	p, _ := w.build(enable, s)
	require.Equal(t, 3, p.Restarts)
	require.InDelta(t, 3600+3*120, *p.ExpectedSeconds, 0.1, "a median of two minutes each, and the bake")
	condition(w.nodes[2], v1alpha1.ConditionSidecarReady, metav1.ConditionFalse, v1alpha1.ReasonNotReady, "")
	p, _ = w.build(enable, s)
	require.Contains(t, strings.Join(p.Warnings, "\n"), "1 node is down and takes a slot of the budget of chain pacific-1, which is 1: fleet/ax-2; no node is restarted")
}

// A swap of issuers restarts nothing: how long it takes is known from reloads.
func TestEstimateOfReloads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 3 {
		w.node(fmt.Sprintf("ax-%d", i), tls(otherTLS))
	}
	s := w.strategy()
	s.MaxUnavailable = intstr.FromInt32(1)
	p, _ := w.build(enable, s)
	require.Zero(t, p.Restarts)
	require.Nil(t, p.ExpectedSeconds, "no node was through a reload yet")
	for i, n := range w.nodes {
		n.Status.LastPlan = &v1alpha1.PlanSummary{Kind: v1alpha1.NodeUpdate, Outcome: v1alpha1.PlanComplete, Causes: []v1alpha1.PlanCause{v1alpha1.SidecarTLSDrift},
			StartedAt: metav1.NewMicroTime(now), FinishedAt: metav1.NewMicroTime(now.Add(time.Duration(i+1) * 10 * time.Second))}
	}
	p, _ = w.build(enable, s)
	require.InDelta(t, 20, *p.ReloadSeconds, 0.1)
	require.InDelta(t, 60, *p.ExpectedSeconds, 0.1)
	p, _ = w.build(fleet.Goal{TLS: secretTLS}, s)
	require.Equal(t, 3, p.Restarts)
	require.Nil(t, p.ExpectedSeconds, "a reload says nothing of a pod cycle")
}

// A pod that is down and a seid that is not caught up are two things to see to.
func TestBlockedSaysWhatIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.node("ax-0")
	in := w.input(enable, w.strategy())
	reason := func() string {
		p, _, err := fleet.Build(in)
		require.NoError(t, err)
		require.Equal(t, fleet.NeedBlocked, p.Nodes[0].Need)
		return p.Nodes[0].Reason
	}
	in.PodReady[key(n)] = false
	require.Contains(t, reason(), "its pod is not Ready, although its sidecar answered: seid is not caught up")
	condition(n, v1alpha1.ConditionSidecarReady, metav1.ConditionUnknown, v1alpha1.ReasonUnreachable, "the sidecar does not answer: refused")
	require.Contains(t, reason(), "its pod is not Ready: the sidecar does not answer: refused")
	require.NotContains(t, reason(), "caught up")
	delete(in.PodReady, key(n))
	require.Equal(t, "it has no pod", reason())
}

// What the plan says of how many go at once is what happens.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.snd("syncer", 4, 1)
	s := w.strategy()
	s.MaxUnavailable, s.Canary = intstr.FromInt32(3), 0
	p, _ := w.build(enable, s)
	require.Equal(t, 1, p.AtOnce(), "as the SeiNodeDeployment says")
	s.MaxUnavailable, s.Canary = intstr.FromInt32(2), 4
	p, _ = w.build(enable, s)
	require.Equal(t, 2, p.AtOnce())
}

func TestSelection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("ax-0", labelled("fleet", "a"))
	w.node("ax-1", labelled("fleet", "a"), archive)
	w.node("at-0", labelled("fleet", "a"), func(n *v1alpha1.SeiNode) { n.Spec.ChainID = "atlantic-2" })
	for name, tc := range map[string]struct {
		s    fleet.Selection
		want int
		err  string
	}{
		"none":         {fleet.Selection{}, 0, "no target: give --chain CHAIN"},
		"a chain":      {fleet.Selection{Chain: "pacific-1"}, 2, ""},
		"modes":        {fleet.Selection{Chain: "pacific-1", Modes: []string{"archive"}}, 1, ""},
		"bad mode":     {fleet.Selection{Chain: "pacific-1", Modes: []string{"syncer"}}, 0, `--mode: found "syncer"`},
		"two chains":   {fleet.Selection{Selector: "fleet=a"}, 0, "add --chain, one of atlantic-2, pacific-1"},
		"label":        {fleet.Selection{Selector: "fleet=a", Chain: "atlantic-2"}, 1, ""},
		"namespace":    {fleet.Selection{Chain: "pacific-1", Namespace: "other"}, 0, "no SeiNode matches --chain pacific-1 -n other"},
		"bad selector": {fleet.Selection{Selector: "a b"}, 0, "no label selector"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes, _, err := tc.s.Select(w.nodes)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Len(t, nodes, tc.want)
		})
	}
}

func TestChange(t *testing.T) {
	t.Parallel()
	require.Equal(t, "spec:\n  template:\n    spec:\n      sidecar:\n        tls:\n          issuerName: pacific-1-ca\n          issuerKind: ClusterIssuer",
		fleet.Edit{TLS: issuerTLS}.Change(fleet.Object{Kind: fleet.KindDeployment}))
	require.Equal(t, "spec:\n  sidecar:\n    tls:\n      secretName: mine", fleet.Edit{TLS: secretTLS}.Change(fleet.Object{Kind: fleet.KindNode}))
	require.Equal(t, "metadata:\n  annotations:\n    sei.io/allow-sidecar-tls-removal: \"true\"\n# and without spec.sidecar.tls",
		fleet.Edit{}.Change(fleet.Object{Kind: fleet.KindNode}))
}

// One bad issuer is one cause, however many nodes it takes down.
func TestCauses(t *testing.T) {
	t.Parallel()
	r := &fleet.Record{}
	for i := range 200 {
		name := fmt.Sprintf("ax-%d", i)
		r.Nodes = append(r.Nodes, fleet.NodeRecord{Namespace: "fleet", Name: name, Outcome: fleet.NodeFailed,
			Detail: fmt.Sprintf("wait-for-sidecar-tls-secret: not done by its deadline: CertificateRequest %s-sidecar-tls-%d: Referenced \"ClusterIssuer\" not found: nope", name, i%3+1)})
	}
	r.Nodes = append(r.Nodes, fleet.NodeRecord{Namespace: "fleet", Name: "b", Outcome: fleet.NodeFailed, Detail: "another one of b"})
	causes := r.Causes()
	require.Len(t, causes, 2)
	require.Len(t, causes[0].Nodes, 200)
	require.Contains(t, causes[0].Text, "CertificateRequest NODE-sidecar-tls-N: Referenced \"ClusterIssuer\" not found: nope")
	require.Equal(t, "another one of b", causes[1].Text)
}

func TestRecordTooLarge(t *testing.T) {
	t.Parallel()
	r := &fleet.Record{Nodes: make([]fleet.NodeRecord, 6000)}
	require.ErrorIs(t, r.Fits(), fleet.ErrTooLarge)
	r.Nodes = r.Nodes[:1000]
	require.NoError(t, r.Fits())
}

type tcpDialer string

func (d tcpDialer) DialPod(ctx context.Context, _, _, _ string, _ int32) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", string(d))
}

func TestRPCProber(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		code   int
		body   string
		height int64
		up     bool
		err    string
	}{
		"caught up":   {200, `{"jsonrpc":"2.0","result":{"sync_info":{"latest_block_height":"1234","catching_up":false}}}`, 1234, false, ""},
		"catching up": {200, `{"result":{"sync_info":{"latest_block_height":"7","catching_up":true}}}`, 7, true, ""},
		"unwrapped":   {200, `{"sync_info":{"latest_block_height":"8","catching_up":false}}`, 8, false, ""},
		"no answer":   {200, `{}`, 0, false, "no sync_info"},
		"refused":     {500, `oops`, 0, false, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.Equal(t, "/status", r.URL.Path)
				w.WriteHeader(tc.code)
				fmt.Fprint(w, tc.body)
			}))
			defer s.Close()
			p := fleet.RPCProber{Dialer: tcpDialer(s.Listener.Addr().String())}
			height, up, err := p.Chain(t.Context(), fleet.Pod{Namespace: "fleet", Name: "ax-0-0"})
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.height, height)
			require.Equal(t, tc.up, up)
		})
	}
}
