package auth

import (
	"errors"
	"fmt"
	"strings"
)

// ResourceType is what an ACL is about, in Kafka's numbers.
type ResourceType int8

const (
	AnyResource     ResourceType = 1 // in filters only
	Topic           ResourceType = 2
	Group           ResourceType = 3
	Cluster         ResourceType = 4
	TransactionalID ResourceType = 5
	DelegationToken ResourceType = 6
	User            ResourceType = 7
)

// PatternType is how an ACL names its resources.
type PatternType int8

const (
	AnyPattern PatternType = 1 // in filters only
	Match      PatternType = 2 // in filters only: all patterns that cover the name
	Literal    PatternType = 3 // exactly the name; Wildcard covers all
	Prefixed   PatternType = 4 // all names that begin so
)

// Operation is what is done to a resource.
type Operation int8

const (
	AnyOperation    Operation = 1 // in filters only
	All             Operation = 2
	Read            Operation = 3
	Write           Operation = 4
	Create          Operation = 5
	Delete          Operation = 6
	Alter           Operation = 7
	Describe        Operation = 8
	ClusterAction   Operation = 9
	DescribeConfigs Operation = 10
	AlterConfigs    Operation = 11
	IdempotentWrite Operation = 12
	CreateTokens    Operation = 13
	DescribeTokens  Operation = 14
	TwoPhaseCommit  Operation = 15
)

// Permission is what an ACL says.
type Permission int8

const (
	AnyPermission Permission = 1 // in filters only
	Deny          Permission = 2
	Allow         Permission = 3
)

// Names with a meaning of their own.
const (
	Wildcard     = "*" // a literal pattern for all names, and a host for all hosts
	ClusterName  = "kafka-cluster"
	AnyPrincipal = "User:*"
)

// UserPrincipal is how ACLs write a user.
func UserPrincipal(name string) string { return "User:" + name }

// ACL is one entry: it allows or denies a principal, from a host, an operation
// on the resources of a pattern. Equal values are the same entry.
type ACL struct {
	Resource   ResourceType `json:"resource_type"`
	Name       string       `json:"resource_name"`
	Pattern    PatternType  `json:"pattern_type"`
	Principal  string       `json:"principal"` // User:name or AnyPrincipal
	Host       string       `json:"host"`      // an IP address, or Wildcard
	Operation  Operation    `json:"operation"`
	Permission Permission   `json:"permission_type"`
}

// ErrACL means that an ACL cannot be: the text says why.
var ErrACL = errors.New("auth: invalid ACL")

// maxACLText bounds each text of an ACL, in bytes.
const maxACLText = 512

// Check reports what is wrong with a new ACL.
func (a ACL) Check() error {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrACL, fmt.Sprintf(format, args...))
	}
	kind, _, typed := strings.Cut(a.Principal, ":")
	switch {
	case a.Resource <= AnyResource || a.Resource > User:
		return fault("resource type %d is none that an ACL can name", a.Resource)
	case a.Pattern != Literal && a.Pattern != Prefixed:
		return fault("pattern type %d is neither LITERAL nor PREFIXED", a.Pattern)
	case a.Operation <= AnyOperation || a.Operation > TwoPhaseCommit:
		return fault("operation %d is none that an ACL can name", a.Operation)
	case a.Permission != Deny && a.Permission != Allow:
		return fault("permission type %d is neither ALLOW nor DENY", a.Permission)
	case a.Name == "":
		return fault("the resource name is empty: * means all")
	case a.Resource == Cluster && a.Name != ClusterName:
		return fault("the only resource of type CLUSTER is %s, not %q", ClusterName, a.Name)
	case !typed || kind == "":
		return fault("the principal %q is not TYPE:NAME, such as User:ana", a.Principal)
	case a.Host == "":
		return fault("the host is empty: * means all")
	case len(a.Name) > maxACLText || len(a.Principal) > maxACLText || len(a.Host) > maxACLText:
		return fault("a text in it is longer than %d bytes", maxACLText)
	}
	return nil
}

// covers reports whether the pattern covers a resource of that name.
func (a ACL) covers(name string) bool {
	if a.Pattern == Prefixed {
		return strings.HasPrefix(name, a.Name)
	}
	return a.Name == name || a.Name == Wildcard
}

// concerns reports whether the ACL speaks of that client.
func (a ACL) concerns(principal, host string) bool {
	return (a.Principal == principal || a.Principal == AnyPrincipal) && (a.Host == Wildcard || a.Host == host)
}

// denies reports whether the ACL forbids the operation to who it concerns.
func (a ACL) denies(o Operation) bool {
	return a.Permission == Deny && (a.Operation == o || a.Operation == All)
}

// allows reports whether the ACL permits the operation to who it concerns. Who
// may read, write, delete or alter a resource may also look at it.
func (a ACL) allows(o Operation) bool {
	if a.Permission != Allow {
		return false
	}
	if a.Operation == o || a.Operation == All {
		return true
	}
	switch o {
	case Describe:
		return a.Operation == Read || a.Operation == Write || a.Operation == Delete || a.Operation == Alter
	case DescribeConfigs:
		return a.Operation == AlterConfigs
	}
	return false
}

// Filter chooses ACLs. A nil text and the Any constants match everything.
type Filter struct {
	Resource   ResourceType
	Name       *string
	Pattern    PatternType
	Principal  *string
	Host       *string
	Operation  Operation
	Permission Permission
}

// Check reports what is wrong with a filter.
func (f Filter) Check() error {
	switch {
	case f.Resource < AnyResource || f.Resource > User:
		return fmt.Errorf("%w filter: resource type %d is unknown", ErrACL, f.Resource)
	case f.Pattern < AnyPattern || f.Pattern > Prefixed:
		return fmt.Errorf("%w filter: pattern type %d is unknown", ErrACL, f.Pattern)
	case f.Operation < AnyOperation || f.Operation > TwoPhaseCommit:
		return fmt.Errorf("%w filter: operation %d is unknown", ErrACL, f.Operation)
	case f.Permission < AnyPermission || f.Permission > Allow:
		return fmt.Errorf("%w filter: permission type %d is unknown", ErrACL, f.Permission)
	}
	return nil
}

// Matches reports whether the filter chooses a.
func (f Filter) Matches(a ACL) bool {
	return (f.Resource == AnyResource || f.Resource == a.Resource) && f.matchesName(a) &&
		(f.Principal == nil || *f.Principal == a.Principal) && (f.Host == nil || *f.Host == a.Host) &&
		(f.Operation == AnyOperation || f.Operation == a.Operation) &&
		(f.Permission == AnyPermission || f.Permission == a.Permission)
}

func (f Filter) matchesName(a ACL) bool {
	switch {
	case f.Pattern == Match:
		return f.Name == nil || a.covers(*f.Name)
	case f.Pattern != AnyPattern && f.Pattern != a.Pattern:
		return false
	}
	return f.Name == nil || *f.Name == a.Name
}
