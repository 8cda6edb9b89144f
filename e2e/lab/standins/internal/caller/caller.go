// Package caller is a stand-in for a service in the cluster that calls sidecars by their names: each call looks the name up,
// verifies the certificate against a CA and that name, shows its token to nobody before, and is one line of the log.
package caller

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Config is what a caller is told at its start.
type Config struct {
	// URLs are called in turn, over and over.
	URLs []string
	// CA is the file with what to trust, Token the one with the bearer token; a token goes over TLS only.
	CA, Token string
	// Every is the pause between two rounds.
	Every time.Duration
	Log   *slog.Logger
}

// Main calls until SIGTERM and returns its exit code.
func Main(args []string, out io.Writer) int {
	config := Config{Log: slog.New(slog.NewJSONHandler(out, nil))}
	flags := flag.NewFlagSet("caller", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&config.CA, "ca", "", "file with the CA certificates to trust")
	flags.StringVar(&config.Token, "token", "", "file with the bearer token, sent over TLS only")
	flags.DurationVar(&config.Every, "every", 500*time.Millisecond, "pause between two rounds")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	config.URLs = flags.Args()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	for {
		config.Round(ctx)
		select {
		case <-ctx.Done():
			return 0
		case <-time.After(config.Every):
		}
	}
}

// Round calls each URL once and logs what came of it.
func (c Config) Round(ctx context.Context) {
	for _, url := range c.URLs {
		code, err := c.call(ctx, url)
		message := ""
		if err != nil {
			message = err.Error()
		}
		c.Log.Info("called", "url", url, "code", code, "error", message)
	}
}

// call makes one call on a connection of its own; files are read anew, as they are replaced while it runs.
func (c Config) call(ctx context.Context, url string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, fmt.Errorf("making the request: %w", err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if req.URL.Scheme == "https" {
		if transport.TLSClientConfig, err = c.trust(); err != nil {
			return 0, err
		}
		if err := c.authenticate(req); err != nil {
			return 0, err
		}
	}
	// Nothing is followed: a redirect would carry the token elsewhere.
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("calling: %w", err)
	}
	return resp.StatusCode, resp.Body.Close()
}

// trust is the CA's file and nothing else; the name to verify is the URL's.
func (c Config) trust() (*tls.Config, error) {
	data, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("reading the CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, errors.New("reading the CA: no certificate in it")
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

func (c Config) authenticate(req *http.Request) error {
	if c.Token == "" {
		return nil
	}
	token, err := os.ReadFile(c.Token)
	if err != nil {
		return fmt.Errorf("reading the token: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	return nil
}
