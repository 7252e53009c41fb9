package broker

import "net/netip"

// conn is one client's connection.
type conn struct {
	remote netip.AddrPort
	local  netip.AddrPort // the address by which this client reached us
}

// clientHost is the client's address as Kafka's tools show it, "/127.0.0.1".
func (c *conn) clientHost() string { return "/" + c.remote.Addr().String() }

// advertised is the address that this client is told for every broker (W4).
func (c *conn) advertised() (host string, port int32) {
	return c.local.Addr().String(), int32(c.local.Port())
}
