package client

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ACL is one entry of a cluster's access control lists, in Kafka's words.
type ACL struct {
	Resource   string // topic, group, cluster, transactional-id
	Name       string // * is all, of a literal pattern
	Prefixed   bool   // Name is a prefix
	Principal  string // User:ana, User:*
	Host       string // * is all
	Operation  string // read, write, describe, …
	Permission string // allow, deny
}

// ACLs lists the entries that match: every empty field of like matches all, and
// Prefixed counts only together with Name.
func (a *Admin) ACLs(ctx context.Context, like ACL) ([]ACL, error) {
	f, err := like.filter()
	if err != nil {
		return nil, err
	}
	req := kmsg.NewPtrDescribeACLsRequest()
	req.ResourceType, req.ResourceName, req.ResourcePatternType = f.ResourceType, f.ResourceName, f.ResourcePatternType
	req.Principal, req.Host, req.Operation, req.PermissionType = f.Principal, f.Host, f.Operation, f.PermissionType
	resp, err := req.RequestWith(ctx, a.raw)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, a.wrap("list ACLs", err, messageOf(resp))
	}
	var all []ACL
	for _, r := range resp.Resources {
		for _, e := range r.ACLs {
			all = append(all, ACL{
				Resource: word(r.ResourceType), Name: r.ResourceName, Prefixed: r.ResourcePatternType == kmsg.ACLResourcePatternTypePrefixed,
				Principal: e.Principal, Host: e.Host, Operation: word(e.Operation), Permission: word(e.PermissionType),
			})
		}
	}
	return all, nil
}

func messageOf(resp *kmsg.DescribeACLsResponse) string {
	if resp == nil || resp.ErrorMessage == nil {
		return ""
	}
	return *resp.ErrorMessage
}

// word is Kafka's name of a constant as the command line writes it.
func word(constant fmt.Stringer) string {
	return strings.ToLower(strings.ReplaceAll(constant.String(), "_", "-"))
}

// AddACLs adds entries. One that is there already is no error.
func (a *Admin) AddACLs(ctx context.Context, entries []ACL) error {
	req := kmsg.NewPtrCreateACLsRequest()
	for _, e := range entries {
		f, err := e.filter()
		if err != nil {
			return err
		}
		c := kmsg.NewCreateACLsRequestCreation()
		c.ResourceType, c.ResourceName, c.ResourcePatternType = f.ResourceType, e.Name, f.ResourcePatternType
		c.Principal, c.Host, c.Operation, c.PermissionType = e.Principal, e.Host, f.Operation, f.PermissionType
		req.Creations = append(req.Creations, c)
	}
	resp, err := req.RequestWith(ctx, a.raw)
	if err != nil {
		return a.wrap("add ACLs", err, "")
	}
	for _, r := range resp.Results {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return a.wrap("add ACLs", err, orEmpty(r.ErrorMessage))
		}
	}
	return nil
}

// RemoveACLs removes entries; one that is not there is no error.
func (a *Admin) RemoveACLs(ctx context.Context, entries []ACL) error {
	req := kmsg.NewPtrDeleteACLsRequest()
	for _, e := range entries {
		f, err := e.filter()
		if err != nil {
			return err
		}
		req.Filters = append(req.Filters, f)
	}
	resp, err := req.RequestWith(ctx, a.raw)
	if err != nil {
		return a.wrap("remove ACLs", err, "")
	}
	for _, r := range resp.Results {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return a.wrap("remove ACLs", err, orEmpty(r.ErrorMessage))
		}
	}
	return nil
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// filter is the entry as a filter; empty fields match all.
func (e ACL) filter() (kmsg.DeleteACLsRequestFilter, error) {
	f := kmsg.NewDeleteACLsRequestFilter()
	f.ResourceType, f.ResourcePatternType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
	f.Operation, f.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	var err error
	if e.Resource != "" {
		if f.ResourceType, err = kmsg.ParseACLResourceType(e.Resource); err != nil {
			return f, fmt.Errorf("resource %q: use topic, group, cluster or transactional-id", e.Resource)
		}
	}
	if e.Operation != "" {
		if f.Operation, err = kmsg.ParseACLOperation(e.Operation); err != nil {
			return f, fmt.Errorf("operation %q: use read, write, create, delete, alter, describe, describe-configs, alter-configs, cluster-action, idempotent-write or all", e.Operation)
		}
	}
	if e.Permission != "" {
		if f.PermissionType, err = kmsg.ParseACLPermissionType(e.Permission); err != nil {
			return f, fmt.Errorf("permission %q: use allow or deny", e.Permission)
		}
	}
	if e.Name != "" {
		f.ResourceName, f.ResourcePatternType = &e.Name, kmsg.ACLResourcePatternTypeLiteral
		if e.Prefixed {
			f.ResourcePatternType = kmsg.ACLResourcePatternTypePrefixed
		}
	}
	if e.Principal != "" {
		f.Principal = &e.Principal
	}
	if e.Host != "" {
		f.Host = &e.Host
	}
	return f, nil
}
