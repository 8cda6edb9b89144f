package certs

import cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

// CurrentRequest is the CertificateRequest that speaks for a Certificate now: that of the issuance under way, or of the one
// that failed last; nil without one. JudgeIssuance listens to it alone.
func CurrentRequest(cert *cmv1.Certificate, requests []cmv1.CertificateRequest) *cmv1.CertificateRequest {
	return spokenRequest(cert, requests)
}
