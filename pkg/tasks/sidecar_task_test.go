package tasks

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/sidecar"
)

func configInput(typ v1alpha1.TaskType) Input {
	return input(typ, v1alpha1.TaskParams{ConfigApply: &v1alpha1.ConfigApplyParams{
		Overrides: map[string]string{"p2p.x": "1"},
		Peers:     []v1alpha1.PeerSource{{Static: &v1alpha1.StaticPeers{Addresses: []string{"id@host:26656"}}}},
	}}, applied(v1alpha1.TaskReplacePod, 0))
}

func TestConfigTasksRunInTheSidecar(t *testing.T) {
	for _, typ := range []v1alpha1.TaskType{v1alpha1.TaskConfigApply, v1alpha1.TaskConfigValidate} {
		env := newEnv(t)
		env = newEnv(t, testStatefulSet(), testPod(env, nil, "alpha-new", parked))
		f := &fakeSidecar{result: sidecar.TaskRunning}
		plainSidecar(t, env, f)
		in := configInput(typ)
		r, err := Run(t.Context(), env, in)
		requireWaits(t, r, err, "was posted to the sidecar of pod chain/alpha-0")
		require.Nil(t, r.Output)

		r, err = Run(t.Context(), env, in)
		requireWaits(t, r, err, "runs in the sidecar")
		require.Len(t, f.posted, 1)
		require.Equal(t, string(typ), f.bodies[0]["type"])

		f.tasks[f.posted[0]] = sidecar.Task{Status: sidecar.TaskCompleted}
		r, err = Run(t.Context(), env, in)
		require.NoError(t, err)
		require.Equal(t, Done, r.Phase)
		if typ == v1alpha1.TaskConfigApply {
			require.Equal(t, map[string]any{"p2p.x": "1"}, f.bodies[0]["params"].(map[string]any)["overrides"])
			require.Contains(t, f.bodies[0]["params"], "peers")
		}
	}
}

func TestConfigTaskThatFailsIsPostedAgainAndThenTerminal(t *testing.T) {
	env := newEnv(t)
	env = newEnv(t, testStatefulSet(), testPod(env, nil, "alpha-new", parked))
	f := &fakeSidecar{result: sidecar.TaskFailed}
	plainSidecar(t, env, f)
	in := configInput(v1alpha1.TaskConfigValidate)
	_, err := Run(t.Context(), env, in)
	require.NoError(t, err)
	for attempt := range int32(repostings) {
		in.Task.Attempts = attempt
		_, err = Run(t.Context(), env, in)
		require.ErrorContains(t, err, "config-validate failed in the sidecar of pod chain/alpha-0: it did not work")
		require.False(t, IsTerminal(err))
	}
	in.Task.Attempts = repostings
	_, err = Run(t.Context(), env, in)
	require.True(t, IsTerminal(err))
	require.Len(t, f.posted, 1+repostings)
}

func TestSidecarThatDoesNotListenYetIsWaitedFor(t *testing.T) {
	env := newEnv(t)
	env = newEnv(t, testStatefulSet(), testPod(env, nil, "alpha-new", parked))
	connect(env, ports{})
	r, err := Run(t.Context(), env, configInput(v1alpha1.TaskConfigApply))
	requireWaits(t, r, err, "sidecar of pod chain/alpha-0 cannot be reached")
	require.Equal(t, servedPoll, r.RequeueAfter)
}

func TestStableErrors(t *testing.T) {
	require.Equal(t, "read tcp 10.0.0.2:7777: reset", stable(errorString("read tcp 10.0.0.1:53412->10.0.0.2:7777: reset")))
	require.Equal(t, "read tcp [::1]:7777: reset", stable(errorString("read tcp [fe80::1]:53412->[::1]:7777: reset")))
}

type errorString string

func (e errorString) Error() string { return string(e) }
