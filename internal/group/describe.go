package group

// Description is what DescribeGroups shows.
type Description struct {
	State        State
	ProtocolType string
	Protocol     string // empty unless Stable
	Members      []MemberDescription
}

// MemberDescription is one member; its metadata is shown only in a Stable group.
type MemberDescription struct {
	ID, InstanceID       string
	ClientID, ClientHost string
	Metadata, Assignment []byte
}

// Describe is the group for a reader; the bytes are shared and not to be changed.
func (g *Group) Describe() Description {
	d := Description{State: g.state, ProtocolType: g.protocolType}
	if g.state == Stable {
		d.Protocol = g.protocol
	}
	for _, m := range g.members {
		md := MemberDescription{
			ID:         m.id,
			InstanceID: m.instanceID,
			ClientID:   m.clientID,
			ClientHost: m.clientHost,
			Assignment: m.assignment,
		}
		if g.state == Stable {
			md.Metadata = m.metadata(g.protocol)
		}
		d.Members = append(d.Members, md)
	}
	return d
}
