package broker

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/auth"
)

// errNoACLs answers every request about ACLs where nobody is asked to log in: as
// in Kafka, they would protect nothing.
var errNoACLs = refused(kerr.SecurityDisabled, "this broker asks nobody to log in, so ACLs mean nothing: start it with --auth sasl")

func (b *Broker) aclsServed() error {
	if !b.cfg.RequireLogin {
		return errNoACLs
	}
	return nil
}

// describeACLs lists the entries that a filter chooses, by resource.
func (b *Broker) describeACLs(_ *conn, req *kmsg.DescribeACLsRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.DescribeACLsResponse)
		f := auth.Filter{
			Resource: auth.ResourceType(req.ResourceType), Name: req.ResourceName, Pattern: auth.PatternType(req.ResourcePatternType),
			Principal: req.Principal, Host: req.Host, Operation: auth.Operation(req.Operation), Permission: auth.Permission(req.PermissionType),
		}
		err := b.aclsServed()
		if err == nil {
			err = f.Check()
		}
		if resp.ErrorCode, resp.ErrorMessage = codeOf(err), textOf(err); err == nil {
			resp.Resources = aclsByResource(b.security.acls().Matching(f))
		}
		return resp
	})
}

// aclsByResource groups entries, which come ordered by resource.
func aclsByResource(entries []auth.ACL) []kmsg.DescribeACLsResponseResource {
	var all []kmsg.DescribeACLsResponseResource
	var last auth.ACL
	for i, a := range entries {
		if i == 0 || a.Resource != last.Resource || a.Name != last.Name || a.Pattern != last.Pattern {
			r := kmsg.NewDescribeACLsResponseResource()
			r.ResourceType, r.ResourceName, r.ResourcePatternType = kmsg.ACLResourceType(a.Resource), a.Name, kmsg.ACLResourcePatternType(a.Pattern)
			all = append(all, r)
		}
		last = a
		entry := kmsg.NewDescribeACLsResponseResourceACL()
		entry.Principal, entry.Host = a.Principal, a.Host
		entry.Operation, entry.PermissionType = kmsg.ACLOperation(a.Operation), kmsg.ACLPermissionType(a.Permission)
		r := &all[len(all)-1]
		r.ACLs = append(r.ACLs, entry)
	}
	return all
}

// createACLs adds the entries that are valid, all in one change.
func (b *Broker) createACLs(_ *conn, req *kmsg.CreateACLsRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.CreateACLsResponse)
		faults := make([]error, len(req.Creations))
		var entries []auth.ACL
		for i, c := range req.Creations {
			a := auth.ACL{
				Resource: auth.ResourceType(c.ResourceType), Name: c.ResourceName, Pattern: auth.PatternType(c.ResourcePatternType),
				Principal: c.Principal, Host: c.Host, Operation: auth.Operation(c.Operation), Permission: auth.Permission(c.PermissionType),
			}
			if faults[i] = a.Check(); faults[i] == nil {
				entries = append(entries, a)
			}
		}
		err := b.changeACLs(func(now *auth.ACLs) (*auth.ACLs, error) { return now.With(entries...) })
		for _, fault := range faults {
			fault = errors.Join(err, fault)
			r := kmsg.NewCreateACLsResponseResult()
			r.ErrorCode, r.ErrorMessage = codeOf(fault), textOf(fault)
			resp.Results = append(resp.Results, r)
		}
		return resp
	})
}

func (b *Broker) changeACLs(edit func(*auth.ACLs) (*auth.ACLs, error)) error {
	if err := b.aclsServed(); err != nil {
		return err
	}
	before := b.security.acls().Len()
	err := b.security.change(func(now rights) (rights, error) {
		acls, err := edit(now.acls)
		return rights{now.users, acls}, err
	})
	if err == nil {
		b.logger.Info("ACLs were changed", "before", before, "now", b.security.acls().Len())
	}
	return err
}

// deleteACLs removes what each filter chooses, all in one change, and names it.
func (b *Broker) deleteACLs(_ *conn, req *kmsg.DeleteACLsRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.DeleteACLsResponse)
		faults := make([]error, len(req.Filters))
		gone := make([][]auth.ACL, len(req.Filters))
		err := b.changeACLs(func(before *auth.ACLs) (*auth.ACLs, error) {
			now := before
			for i, asked := range req.Filters {
				f := auth.Filter{
					Resource: auth.ResourceType(asked.ResourceType), Name: asked.ResourceName, Pattern: auth.PatternType(asked.ResourcePatternType),
					Principal: asked.Principal, Host: asked.Host, Operation: auth.Operation(asked.Operation), Permission: auth.Permission(asked.PermissionType),
				}
				if faults[i] = f.Check(); faults[i] == nil {
					gone[i] = before.Matching(f) // also what another filter removes, as in Kafka
					now = now.Without(gone[i]...)
				}
			}
			return now, nil
		})
		for i := range req.Filters {
			fault := errors.Join(err, faults[i])
			r := kmsg.NewDeleteACLsResponseResult()
			if r.ErrorCode, r.ErrorMessage = codeOf(fault), textOf(fault); fault == nil {
				r.MatchingACLs = removedACLs(gone[i])
			}
			resp.Results = append(resp.Results, r)
		}
		return resp
	})
}

func removedACLs(entries []auth.ACL) []kmsg.DeleteACLsResponseResultMatchingACL {
	var all []kmsg.DeleteACLsResponseResultMatchingACL
	for _, a := range entries {
		r := kmsg.NewDeleteACLsResponseResultMatchingACL()
		r.ResourceType, r.ResourceName, r.ResourcePatternType = kmsg.ACLResourceType(a.Resource), a.Name, kmsg.ACLResourcePatternType(a.Pattern)
		r.Principal, r.Host = a.Principal, a.Host
		r.Operation, r.PermissionType = kmsg.ACLOperation(a.Operation), kmsg.ACLPermissionType(a.Permission)
		all = append(all, r)
	}
	return all
}

// securityHandlers are the request kinds about logins, users and ACLs.
func (b *Broker) securityHandlers() map[kmsg.Key]handler {
	return map[kmsg.Key]handler{
		kmsg.SASLHandshake:                on(b.saslHandshake),
		kmsg.SASLAuthenticate:             on(b.saslAuthenticate),
		kmsg.DescribeACLs:                 on(b.describeACLs),
		kmsg.CreateACLs:                   on(b.createACLs),
		kmsg.DeleteACLs:                   on(b.deleteACLs),
		kmsg.DescribeClientQuotas:         on(b.describeQuotas),
		kmsg.DescribeUserSCRAMCredentials: on(b.describeUsers),
		kmsg.AlterUserSCRAMCredentials:    on(b.alterUsers),
	}
}
