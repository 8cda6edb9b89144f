package sidecar

import (
	"encoding/json"
	"net/http"
	"os"
	"time"

	"sei.io/seictl/e2e/lab/standins/kinds"
)

// authenticated lets a request through that carries exactly one non-empty user name; only in trusted-header mode does
// it ask at all.
func (s *Server) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		names := r.Header.Values(userHeader)
		named := len(names) == 1 && names[0] != ""
		if s.TrustedHeader && !named || s.Faults.Has(kinds.Status401) {
			fail(w, http.StatusUnauthorized, "unauthorized: want exactly one non-empty %s", userHeader)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hanging holds every request while the hang fault is in force.
func (s *Server) hanging(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			changed := s.Faults.Changed()
			if !s.Faults.Has(kinds.Hang) {
				break
			}
			select {
			case <-changed:
			case <-r.Context().Done():
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// logged writes one line of JSON for every answer, with the name the caller came under.
func (s *Server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		recorder := &statusRecorder{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(recorder, r)
		s.Log.Info("request", "method", r.Method, "path", r.URL.Path, "status", recorder.code,
			"remoteUser", userNames(r), "remote", r.RemoteAddr, "ms", time.Since(began).Milliseconds())
	})
}

// statusRecorder remembers the status code of an answer.
type statusRecorder struct {
	http.ResponseWriter
	code int
}

func (r *statusRecorder) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

// nodeID answers with the p2p identity that seid wrote into its home.
func (s *Server) nodeID(w http.ResponseWriter, _ *http.Request) {
	var key struct {
		ID string `json:"id"`
	}
	raw, err := os.ReadFile(s.configPath("node_key.json"))
	if err == nil {
		err = json.Unmarshal(raw, &key)
	}
	if err != nil {
		fail(w, http.StatusNotFound, "reading the node key: %v", err)
		return
	}
	reply(w, http.StatusOK, map[string]string{"nodeId": key.ID})
}
