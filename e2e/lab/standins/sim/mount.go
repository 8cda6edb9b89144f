package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// volume is a mounted volume: a directory of the machine, or files in memory.
type volume struct {
	source corev1.VolumeSource
	dir    string
	files  atomic.Pointer[map[string][]byte]
}

// mountError says which volume cannot be mounted, in a kubelet's words.
type mountError struct {
	volume string
	err    error
}

func (e *mountError) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.volume, e.err)
}

func (e *mountError) Unwrap() error { return e.err }

// mount mounts all volumes of a pod, or none.
func (s *Simulator) mount(ctx context.Context, pod *corev1.Pod) (map[string]*volume, error) {
	volumes := map[string]*volume{}
	for _, v := range pod.Spec.Volumes {
		m := &volume{source: v.VolumeSource}
		if err := s.fill(ctx, pod.Namespace, m); err != nil {
			return nil, &mountError{v.Name, err}
		}
		volumes[v.Name] = m
	}
	return volumes, nil
}

// fill makes the content of a volume; one with files is filled again when they change.
func (s *Simulator) fill(ctx context.Context, namespace string, v *volume) error {
	switch src := v.source; {
	case src.PersistentVolumeClaim != nil:
		var err error
		v.dir, err = s.claimDir(ctx, namespace, src.PersistentVolumeClaim.ClaimName)
		return err
	case src.Secret != nil:
		secret, err := s.client.CoreV1().Secrets(namespace).Get(ctx, src.Secret.SecretName, metav1.GetOptions{})
		if optional(src.Secret.Optional) && apierrors.IsNotFound(err) {
			secret, err = &corev1.Secret{}, nil
		}
		if err != nil {
			return plain(err)
		}
		return v.put("secret", secret.Data, src.Secret.Items, src.Secret.Optional)
	case src.ConfigMap != nil:
		config, err := s.client.CoreV1().ConfigMaps(namespace).Get(ctx, src.ConfigMap.Name, metav1.GetOptions{})
		if optional(src.ConfigMap.Optional) && apierrors.IsNotFound(err) {
			config, err = &corev1.ConfigMap{}, nil
		}
		if err != nil {
			return plain(err)
		}
		data := maps.Clone(config.BinaryData)
		if data == nil {
			data = map[string][]byte{}
		}
		for k, text := range config.Data {
			data[k] = []byte(text)
		}
		return v.put("config", data, src.ConfigMap.Items, src.ConfigMap.Optional)
	default:
		return nil // scratch space, the account's token: nobody here reads them
	}
}

// plain is an API error in the words that a kubelet's log and events have for it.
func plain(err error) error {
	if status := apierrors.APIStatus(nil); apierrors.IsNotFound(err) && errors.As(err, &status) {
		if d := status.Status().Details; d != nil {
			return fmt.Errorf("%s %q not found", strings.TrimSuffix(d.Kind, "s"), d.Name)
		}
	}
	return err
}

func optional(o *bool) bool { return o != nil && *o }

// put replaces the files of a volume, all at once.
func (v *volume) put(kind string, data map[string][]byte, items []corev1.KeyToPath, mayMiss *bool) error {
	files := data
	if len(items) > 0 {
		files = map[string][]byte{}
		for _, item := range items {
			content, ok := data[item.Key]
			if !ok && !optional(mayMiss) {
				return fmt.Errorf("references non-existent %s key: %s", kind, item.Key)
			}
			if ok {
				files[item.Path] = content
			}
		}
	}
	v.files.Store(&files)
	return nil
}

// same says whether the volume has the same files as another.
func (v *volume) same(other *volume) bool {
	a, b := v.files.Load(), other.files.Load()
	return a == b || a != nil && b != nil && maps.EqualFunc(*a, *b, bytes.Equal)
}

// readFile reads a file as a container sees it.
func readFile(mounts []corev1.VolumeMount, volumes map[string]*volume, name string) ([]byte, error) {
	for _, m := range mounts {
		rest, ok := strings.CutPrefix(path.Clean(name), path.Clean(m.MountPath)+"/")
		v := volumes[m.Name]
		if !ok || v == nil {
			continue
		}
		if v.dir != "" {
			return os.ReadFile(filepath.Join(v.dir, rest))
		}
		if files := v.files.Load(); files != nil {
			if content, ok := (*files)[rest]; ok {
				return content, nil
			}
		}
	}
	return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
}

// directory is where on the machine a container's directory is; "" when it is on no volume of the machine.
func directory(mounts []corev1.VolumeMount, volumes map[string]*volume, name string) string {
	for _, m := range mounts {
		if v := volumes[m.Name]; v != nil && v.dir != "" && path.Clean(m.MountPath) == path.Clean(name) {
			return v.dir
		}
	}
	return ""
}

// claimDir is the directory behind a claim.
func (s *Simulator) claimDir(ctx context.Context, namespace, name string) (string, error) {
	claim, err := s.client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", plain(err)
	}
	if dir, ok := s.dirs.Load(claim.UID); ok {
		return dir.(string), nil
	}
	if claim.Spec.VolumeName == "" {
		return "", fmt.Errorf("claim %q is not bound", name)
	}
	pv, err := s.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return "", plain(err)
	}
	if pv.Spec.HostPath == nil {
		return "", fmt.Errorf("volume %q is no directory of this machine", pv.Name)
	}
	s.dirs.Store(claim.UID, pv.Spec.HostPath.Path)
	return pv.Spec.HostPath.Path, nil
}
