package sidecar

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPlainHTTPSendsNoToken(t *testing.T) {
	p, target := serve(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusCreated)
		}
		io.WriteString(w, `{}`)
	}))
	tokens := &fixedToken{}
	client := (&Connector{Dialer: DirectDialer(), Tokens: tokens}).Open(target)
	defer client.Close()
	_, err := client.Status(t.Context())
	require.NoError(t, err)
	_, err = client.GetTask(t.Context(), "1")
	require.NoError(t, err)
	require.NoError(t, client.PostTask(t.Context(), "1", "mark-ready", nil))
	require.Equal(t, 3, p.count())
	for _, r := range p.requests {
		require.Empty(t, r.Header.Get("Authorization"))
	}
	require.Zero(t, tokens.asked)
}

func TestProbesOverTLSSendNoToken(t *testing.T) {
	w := newWorld(t)
	p, target := serve(t, &w.leaf, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	target.TLS.Leaf = w.leaf.cert
	client := (&Connector{Dialer: DirectDialer(), Tokens: &fixedToken{}}).Open(target)
	defer client.Close()
	code, err := client.Healthz(t.Context())
	require.NoError(t, err, "503 is an answer")
	require.Equal(t, http.StatusServiceUnavailable, code)
	_, err = client.Livez(t.Context())
	require.NoError(t, err)
	for _, r := range p.requests {
		require.Empty(t, r.Header.Get("Authorization"))
	}
}

func TestConnectionsAreReusedAndReleased(t *testing.T) {
	w := newWorld(t)
	_, target := serve(t, &w.leaf, http.HandlerFunc(ok))
	target.TLS.Leaf = w.leaf.cert
	dialer := &loopback{}
	client := (&Connector{Dialer: dialer, Tokens: &fixedToken{}}).Open(target)
	for range 3 {
		_, err := client.Status(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, 1, dialer.count())
	client.Close()
	_, err := client.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, dialer.count())
	client.Close()
}

func TestPostAndGetTask(t *testing.T) {
	p, target := serve(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusCreated)
			io.WriteString(w, `{"id":"7"}`)
		case r.URL.Path == "/v0/tasks/7":
			io.WriteString(w, `{"id":"7","type":"config-apply","status":"failed","error":"no such key","more":1}`)
		default:
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"error":"unknown task"}`)
		}
	}))
	client := (&Connector{Dialer: DirectDialer()}).Open(target)
	defer client.Close()
	require.NoError(t, client.PostTask(t.Context(), "7", "config-apply", map[string]string{"a": "b"}))
	var sent map[string]any
	require.NoError(t, json.Unmarshal([]byte(p.bodies[0]), &sent))
	require.Equal(t, map[string]any{"id": "7", "type": "config-apply", "params": map[string]any{"a": "b"}}, sent)

	require.NoError(t, client.PostTask(t.Context(), "7", "mark-ready", nil))
	require.Contains(t, p.bodies[1], `"params":{}`)

	task, err := client.GetTask(t.Context(), "7")
	require.NoError(t, err)
	require.Equal(t, Task{ID: "7", Type: "config-apply", Status: TaskFailed, Error: "no such key"}, task)

	_, err = client.GetTask(t.Context(), "8")
	require.True(t, IsNotFound(err))
	require.EqualError(t, err, "GET /v0/tasks/8: 404 Not Found: unknown task")
}

func TestBigBody(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	_, target := serve(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusConflict)
		}
		io.WriteString(w, big)
	}))
	client := (&Connector{Dialer: DirectDialer()}).Open(target)
	defer client.Close()
	_, err := client.GetTask(t.Context(), "1")
	require.ErrorIs(t, err, ErrBodyTooLarge)
	_, err = client.Healthz(t.Context())
	require.ErrorIs(t, err, ErrBodyTooLarge)
	err = client.PostTask(t.Context(), "1", "mark-ready", nil)
	var status *StatusError
	require.ErrorAs(t, err, &status)
	require.Equal(t, http.StatusConflict, status.Code)
	require.Less(t, len(err.Error()), 500)
}

func TestRedirectIsRefused(t *testing.T) {
	w := newWorld(t)
	elsewhere, _ := serve(t, nil, http.HandlerFunc(ok))
	p, target := serve(t, &w.leaf, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/v0/livez", http.StatusTemporaryRedirect)
	}))
	target.TLS.Leaf = w.leaf.cert
	client := (&Connector{Dialer: DirectDialer(), Tokens: &fixedToken{}}).Open(target)
	defer client.Close()
	var status *StatusError
	_, err := client.Status(t.Context())
	require.ErrorAs(t, err, &status)
	require.Equal(t, http.StatusTemporaryRedirect, status.Code)
	require.ErrorAs(t, client.PostTask(t.Context(), "1", "mark-ready", nil), &status)
	require.Equal(t, 2, p.count())
	require.Zero(t, elsewhere.count())
}

func TestRefusedTokenIsForgottenAndNotQuoted(t *testing.T) {
	w := newWorld(t)
	_, target := serve(t, &w.leaf, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "bad header: "+r.Header.Get("Authorization"), http.StatusUnauthorized)
	}))
	target.TLS.Leaf = w.leaf.cert
	tokens := &fixedToken{}
	client := (&Connector{Dialer: DirectDialer(), Tokens: tokens}).Open(target)
	defer client.Close()
	err := client.PostTask(t.Context(), "1", "mark-ready", nil)
	require.ErrorContains(t, err, "401 Unauthorized: bad header: Bearer [token]")
	require.NotContains(t, err.Error(), testToken)
	require.Equal(t, 1, tokens.invalidated)
}

func TestProxyEnvironmentIsIgnored(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	_, target := serve(t, nil, http.HandlerFunc(ok))
	client := (&Connector{Dialer: DirectDialer()}).Open(target)
	defer client.Close()
	_, err := client.Healthz(t.Context())
	require.NoError(t, err)
}

// readRequest takes a whole request off a raw connection.
func readRequest(c net.Conn) {
	buf := make([]byte, 4096)
	for got := ""; !strings.Contains(got, "mark-ready") && !strings.HasPrefix(got, "GET"); {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		got += string(buf[:n])
	}
}

func TestDeliveryUnknown(t *testing.T) {
	answer := func(code int) Target {
		_, target := serve(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }))
		return target
	}
	w := newWorld(t)
	_, otherLeaf := serve(t, &w.sibling, http.HandlerFunc(ok))
	otherLeaf.TLS.Leaf = w.leaf.cert
	_, noToken := serve(t, &w.leaf, http.HandlerFunc(ok))
	noToken.TLS.Leaf = w.leaf.cert
	plainAsTLS := answer(http.StatusOK)
	plainAsTLS.TLS = &TLSTarget{ServerName: testName, Leaf: w.leaf.cert}
	cases := map[string]struct {
		target Target
		tokens error
		hangs  bool
		want   bool
	}{
		"accepted, then hangs up":    {target: listen(t, readRequest), want: true},
		"accepted, then silent":      {target: listen(t, func(c net.Conn) { io.Copy(io.Discard, c) }), hangs: true, want: true},
		"accepted, answers nonsense": {target: listen(t, func(c net.Conn) { readRequest(c); io.WriteString(c, "what?\r\n\r\n") }), want: true},
		"proxy lost the sidecar":     {target: answer(http.StatusBadGateway), want: true},
		"proxy gave up on it":        {target: answer(http.StatusGatewayTimeout), want: true},
		"refused by the sidecar":     {target: answer(http.StatusBadRequest)},
		"sidecar failed":             {target: answer(http.StatusInternalServerError)},
		"not authorized":             {target: answer(http.StatusForbidden)},
		"port closed":                {target: closedPort(t)},
		"no pod IP":                  {target: Target{PodName: "node-0", Port: 1}},
		"another leaf":               {target: otherLeaf},
		"no TLS":                     {target: plainAsTLS},
		"no token":                   {target: noToken, tokens: errors.New("no token today")},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := &Connector{Dialer: DirectDialer(), Tokens: &fixedToken{err: tc.tokens}}
			if tc.hangs {
				c.RequestTimeout = 100 * time.Millisecond
			}
			client := c.Open(tc.target)
			defer client.Close()
			err := client.PostTask(t.Context(), "1", "mark-ready", nil)
			require.Error(t, err)
			require.Equal(t, tc.want, DeliveryUnknown(err), "%v", err)
			_, err = client.GetTask(t.Context(), "1")
			require.False(t, DeliveryUnknown(err), "a GET delivers nothing: %v", err)
		})
	}
	require.False(t, DeliveryUnknown(nil))
	require.False(t, DeliveryUnknown(context.Canceled))
}

func TestPortOpen(t *testing.T) {
	c := &Connector{Dialer: DirectDialer(), DialTimeout: time.Second}
	_, target := serve(t, nil, http.HandlerFunc(ok))
	open, err := c.PortOpen(t.Context(), target)
	require.NoError(t, err)
	require.True(t, open)
	open, err = c.PortOpen(t.Context(), closedPort(t))
	require.NoError(t, err)
	require.False(t, open)
	_, err = c.PortOpen(t.Context(), Target{PodName: "node-0", Port: 1})
	require.ErrorContains(t, err, "no IP", "unknown is not closed")
}
