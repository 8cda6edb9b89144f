package sim

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestAddressesAreOfOnePodAtATime(t *testing.T) {
	a := newAddresses(77)
	first, err := a.take("")
	require.NoError(t, err)
	second, err := a.take(first)
	require.NoError(t, err)
	require.NotEqual(t, first, second, "one that is taken is not given again")
	a.free(first)
	again, err := a.take(first)
	require.NoError(t, err)
	require.Equal(t, first, again, "a pod keeps its address over a restart of the simulator")
	a.free(first)
	third, err := a.take("10.0.0.1")
	require.NoError(t, err)
	require.NotEqual(t, first, third, "one that was just freed comes last")
}

func TestAPortOfTheLoopbackIsThePodsOwn(t *testing.T) {
	n := newNetwork(fmt.Sprintf("127.%d.255.1", testNetwork()))
	l, err := n.listen("127.0.0.1:7777", nil)
	require.NoError(t, err)
	_, err = n.listen("0.0.0.0:7777", nil)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	refused(t, n.ip, "7777")
	go func() {
		if conn, err := l.Accept(); err == nil {
			_, _ = conn.Write([]byte("hi"))
			_ = conn.Close()
		}
	}()
	conn, err := n.dial(t.Context(), 7777)
	require.NoError(t, err)
	said := make([]byte, 2)
	_, err = conn.Read(said)
	require.NoError(t, err)
	require.Equal(t, "hi", string(said))
	require.NoError(t, l.Close())
	_, err = n.dial(t.Context(), 7777)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestVolumesHaveTheKeysAskedFor(t *testing.T) {
	data := map[string][]byte{"a": []byte("1"), "b": []byte("2")}
	yes := true
	for name, c := range map[string]struct {
		items    []corev1.KeyToPath
		optional *bool
		want     map[string][]byte
		err      string
	}{
		"all":              {want: data},
		"some":             {items: []corev1.KeyToPath{{Key: "a", Path: "x"}}, want: map[string][]byte{"x": []byte("1")}},
		"missing":          {items: []corev1.KeyToPath{{Key: "c", Path: "c"}}, err: "references non-existent secret key: c"},
		"missing, may be":  {items: []corev1.KeyToPath{{Key: "c", Path: "c"}}, optional: &yes, want: map[string][]byte{}},
		"optional, is not": {items: []corev1.KeyToPath{{Key: "b", Path: "b"}}, optional: &yes, want: map[string][]byte{"b": []byte("2")}},
	} {
		t.Run(name, func(t *testing.T) {
			v := &volume{}
			err := v.put("secret", data, c.items, c.optional)
			if c.err != "" {
				require.EqualError(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, *v.files.Load())
		})
	}
}

func TestFilesAreFoundByTheirMount(t *testing.T) {
	v := &volume{}
	require.NoError(t, v.put("secret", map[string][]byte{"tls.crt": []byte("x")}, nil, nil))
	mounts := []corev1.VolumeMount{{Name: "tls", MountPath: "/etc/tls/"}}
	content, err := readFile(mounts, map[string]*volume{"tls": v}, "/etc/tls/tls.crt")
	require.NoError(t, err)
	require.Equal(t, "x", string(content))
	_, err = readFile(mounts, map[string]*volume{"tls": v}, "/etc/tls/tls.key")
	require.ErrorContains(t, err, "open /etc/tls/tls.key: file does not exist")
}

func TestBackOffDoubles(t *testing.T) {
	for crashes, want := range map[int]time.Duration{
		1: 0, 2: 10 * time.Second, 3: 20 * time.Second, 4: 40 * time.Second, 7: 5 * time.Minute, 100: 5 * time.Minute,
	} {
		require.Equal(t, want, (&container{crashes: crashes}).backOff(), "%d crashes", crashes)
	}
}

func TestSettingsAreReadAndWritten(t *testing.T) {
	s := &Simulator{}
	ask := func(method, body string) (int, string) {
		answer := httptest.NewRecorder()
		s.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), method, "/sim/settings", strings.NewReader(body)))
		return answer.Code, strings.TrimSpace(answer.Body.String())
	}
	code, text := ask(http.MethodPut, `{"start":"3s"}`)
	require.Equal(t, http.StatusOK, code)
	require.JSONEq(t, `{"start":"3s","stop":"0s","sync":"0s"}`, text)
	_, text = ask(http.MethodPut, `{"stop":"2s"}`)
	require.JSONEq(t, `{"start":"3s","stop":"2s","sync":"0s"}`, text)
	for _, bad := range []string{`{"start":"soon"}`, `{"stop":"-1s"}`, `{"pace":"1s"}`} {
		code, _ = ask(http.MethodPut, bad)
		require.Equal(t, http.StatusBadRequest, code, bad)
	}
	_, text = ask(http.MethodGet, "")
	require.JSONEq(t, `{"start":"3s","stop":"2s","sync":"0s"}`, text)
}

func TestAProbeSeesWhatAnswersOnThePodsAddress(t *testing.T) {
	n := newNetwork(fmt.Sprintf("127.%d.255.2", testNetwork()))
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	l, err := n.listen("0.0.0.0:7777", plainHTTP(ok))
	require.NoError(t, err)
	answer, err := n.get(context.Background(), 7777, "http", n.ip, "/v0/livez")
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, answer.Code)
	_, err = n.get(context.Background(), 7777, "https", n.ip, "/v0/livez")
	require.Error(t, err)
	require.NoError(t, l.Close())
	_, err = n.get(context.Background(), 7777, "http", n.ip, "/v0/livez")
	require.EqualError(t, err, "port 7777 is closed")
}
