package operator

import (
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/events"

	"sei.io/seictl/pkg/settings"
)

func settingsMap(version, text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: settings.Namespace, Name: settings.ConfigMapName, ResourceVersion: version},
		Data:       map[string]string{settings.Key: text},
	}
}

func TestSettingsAreFollowed(t *testing.T) {
	t.Parallel()
	l, err := loadSettings(t.Context(), fake.NewClientset(settingsMap("1", "clusterDomain: one.local")), logr.Discard())
	require.NoError(t, err)
	recorder, changes := events.NewFakeRecorder(10), 0
	l.recorder, l.changed = recorder, func() { changes++ }
	require.Equal(t, "one.local", l.Get().ClusterDomain)

	l.load(settingsMap("1", "clusterDomain: one.local"))
	require.Zero(t, changes, "the same settings change nothing")

	l.load(settingsMap("2", "clusterDomain: two.local"))
	require.Equal(t, "two.local", l.Get().ClusterDomain)
	require.Equal(t, 1, changes)
	require.Contains(t, <-recorder.Events, ReasonSettingsLoaded)

	bad := settingsMap("3", "clusterDomian: three.local")
	l.load(bad)
	l.load(bad)
	require.Equal(t, "two.local", l.Get().ClusterDomain, "the last good ones stay in force")
	require.Contains(t, <-recorder.Events, "clusterDomian")
	require.Empty(t, recorder.Events, "told once")

	l.load(settingsMap("4", "clusterDomain: two.local"))
	require.Contains(t, <-recorder.Events, ReasonSettingsLoaded, "that they are good again is told")
}

// There are no last good ones at the start, and the defaults may be far from what is meant.
func TestInvalidSettingsAtTheStart(t *testing.T) {
	t.Parallel()
	_, err := loadSettings(t.Context(), fake.NewClientset(settingsMap("1", "nonsense: true")), logr.Discard())
	require.ErrorContains(t, err, "nonsense")
	l, err := loadSettings(t.Context(), fake.NewClientset(), logr.Discard())
	require.NoError(t, err)
	require.Equal(t, settings.Default(), l.Get())
}
