package broker

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"millrace/internal/auth"
)

// identity is who is at the other end of a connection. It is set before the
// first request that needs it and never changes after: a client that wants to
// be somebody else connects anew.
type identity struct {
	principal string // as ACLs write it, User:ana
	host      string // the client's address as ACLs write it
	free      bool   // may do everything: nobody is asked to log in, or it is a super user
}

// may reports whether the client may do the operation to the resource.
func (c *conn) may(o auth.Operation, kind auth.ResourceType, name string) bool {
	return c.who.free || c.b.security.acls().Allowed(c.who.principal, c.who.host, o, kind, name)
}

// mayCluster is may for the cluster as a whole.
func (c *conn) mayCluster(o auth.Operation) bool { return c.may(o, auth.Cluster, auth.ClusterName) }

// mayWriteSome reports whether there can be a topic to which the client may write.
func (c *conn) mayWriteSome() bool {
	return c.who.free || c.b.security.acls().AllowedSome(c.who.principal, c.who.host, auth.Write, auth.Topic)
}

// topic finds a topic for an operation on its records. Who may not do it is not
// told whether there is a topic of that name.
func (c *conn) topic(o auth.Operation, name []byte, id *topicID) (*topic, error) {
	t, err := c.b.catalog.topics.lookup(name, id)
	if c.who.free || t == nil && id != nil {
		return t, err
	}
	if t != nil {
		name = []byte(t.name)
	}
	if !c.may(o, auth.Topic, string(name)) {
		return nil, errTopicDenied
	}
	return t, err
}

// errTopicDenied means that ACLs do not let the client do that to the topic.
var errTopicDenied = refused(kerr.TopicAuthorizationFailed, "the ACLs do not allow it to this user")
