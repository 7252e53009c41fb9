package broker

import (
	"net/netip"
	"slices"
	"testing"

	"millrace/internal/auth"
)

// PLAIN carries the password: over plain text it is offered to this machine only.
func TestPlainIsNotOfferedInTheOpen(t *testing.T) {
	for _, tc := range []struct {
		from      string
		encrypted bool
		want      bool
	}{
		{"127.0.0.1:1", false, true}, {"[::1]:1", false, true}, {"10.0.0.1:1", false, false}, {"[2001:db8::1]:1", false, false},
		{"10.0.0.1:1", true, true}, {"127.0.0.1:1", true, true},
	} {
		c := &conn{remote: netip.MustParseAddrPort(tc.from)}
		c.encrypted = tc.encrypted
		offered := c.mechanisms()
		if got := slices.Contains(offered, auth.Plain); got != tc.want {
			t.Errorf("%s, encrypted %v: PLAIN is offered: %v", tc.from, tc.encrypted, got)
		}
		if !slices.Contains(offered, auth.ScramSHA256) || !slices.Contains(offered, auth.ScramSHA512) {
			t.Errorf("%s: %v", tc.from, offered)
		}
	}
}
