package caller

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// write makes a file of the test.
func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// TestCalls has the token go to servers that the CA and the name vouch for, and to no other.
func TestCalls(t *testing.T) {
	var tokens []string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusNoContent)
	})
	secure, plain := httptest.NewTLSServer(handler), httptest.NewServer(handler)
	t.Cleanup(secure.Close)
	t.Cleanup(plain.Close)
	ca := write(t, "ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	byAnotherName := strings.Replace(secure.URL, "127.0.0.1", "localhost", 1)
	for name, c := range map[string]struct {
		config Config
		url    string
		code   int
		says   string
		tokens []string
	}{
		"TLS":                     {Config{CA: ca}, secure.URL, 204, "", []string{"Bearer it"}},
		"plain":                   {Config{}, plain.URL, 204, "", []string{""}},
		"name not in it":          {Config{CA: ca}, byAnotherName, 0, "x509", nil},
		"another CA":              {Config{CA: write(t, "ca.crt", nil)}, secure.URL, 0, "no certificate", nil},
		"no CA":                   {Config{CA: "nowhere"}, secure.URL, 0, "reading the CA", nil},
		"TLS where there is none": {Config{CA: ca}, strings.Replace(plain.URL, "http:", "https:", 1), 0, "HTTP response to HTTPS client", nil},
	} {
		t.Run(name, func(t *testing.T) {
			tokens = nil
			var log bytes.Buffer
			c.config.Token = write(t, "token", []byte("it\n"))
			c.config.URLs, c.config.Log = []string{c.url}, slog.New(slog.NewJSONHandler(&log, nil))
			c.config.Round(t.Context())
			var line struct {
				URL, Error string
				Code       int
			}
			require.NoError(t, json.Unmarshal(log.Bytes(), &line))
			require.Equal(t, c.url, line.URL)
			require.Equal(t, c.code, line.Code, line.Error)
			require.Contains(t, line.Error, c.says)
			require.Equal(t, c.tokens, tokens)
			require.NotContains(t, log.String(), "Bearer")
		})
	}
}
