package web

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"
)

//go:embed page.html
var pageHTML string

// page is the one file that a browser loads, with the policy that lets exactly
// its own style and script run and nothing else.
type page struct {
	html   string
	policy string
}

func loadPage() page {
	return page{
		html: pageHTML,
		policy: "default-src 'none'; connect-src 'self'; img-src data:; " +
			"style-src " + hashOf(pageHTML, "style") + "; script-src " + hashOf(pageHTML, "script") + "; " +
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}
}

// hashOf is the CSP source of the only inline element with that name.
func hashOf(html, element string) string {
	_, rest, _ := strings.Cut(html, "<"+element+">")
	content, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (s *Server) servePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(s.page.html)) // the reader is gone: nobody to tell
}
