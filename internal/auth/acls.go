package auth

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// MaxACLs bounds the entries; at the bound a new one is refused.
const MaxACLs = 10_000

// ACLs is a set of entries. A value never changes: With and Without give a new
// one, so readers need no lock. A decision looks at the entries of the patterns
// that cover the name, not at all.
type ACLs struct {
	all      map[ACL]bool
	literal  map[resource][]ACL
	prefixed map[resource][]ACL
	lengths  map[ResourceType][]int // of the prefixes that there are, ascending
}

type resource struct {
	kind ResourceType
	name string
}

// NewACLs makes a set of valid entries; equal ones count once.
func NewACLs(entries ...ACL) *ACLs {
	s := &ACLs{all: map[ACL]bool{}, literal: map[resource][]ACL{}, prefixed: map[resource][]ACL{}, lengths: map[ResourceType][]int{}}
	for _, a := range entries {
		if s.all[a] {
			continue
		}
		s.all[a] = true
		at := resource{a.Resource, a.Name}
		if a.Pattern == Literal {
			s.literal[at] = append(s.literal[at], a)
			continue
		}
		s.prefixed[at] = append(s.prefixed[at], a)
		if i, known := slices.BinarySearch(s.lengths[a.Resource], len(a.Name)); !known {
			s.lengths[a.Resource] = slices.Insert(s.lengths[a.Resource], i, len(a.Name))
		}
	}
	return s
}

// Len is the number of entries.
func (s *ACLs) Len() int { return len(s.all) }

// Entries are all entries, in a fixed order.
func (s *ACLs) Entries() []ACL { return slices.SortedFunc(maps.Keys(s.all), compareACLs) }

func compareACLs(a, b ACL) int {
	return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Pattern, b.Pattern), strings.Compare(a.Name, b.Name),
		strings.Compare(a.Principal, b.Principal), strings.Compare(a.Host, b.Host),
		cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Permission, b.Permission))
}

// Matching are the entries that the filter chooses, in a fixed order.
func (s *ACLs) Matching(f Filter) []ACL {
	return slices.DeleteFunc(s.Entries(), func(a ACL) bool { return !f.Matches(a) })
}

// With is s with more entries, which must be valid.
func (s *ACLs) With(entries ...ACL) (*ACLs, error) {
	next := NewACLs(append(slices.Collect(maps.Keys(s.all)), entries...)...)
	if next.Len() > MaxACLs && next.Len() > s.Len() {
		return nil, fmt.Errorf("%w ACLs: at most %d", ErrTooMany, MaxACLs)
	}
	return next, nil
}

// Without is s without some entries.
func (s *ACLs) Without(entries ...ACL) *ACLs {
	left := maps.Clone(s.all)
	for _, a := range entries {
		delete(left, a)
	}
	return NewACLs(slices.Collect(maps.Keys(left))...)
}

// Allowed reports whether the principal, at that host, may do the operation to
// the resource: when an entry allows it and none denies it. Without any entry
// the answer is no.
func (s *ACLs) Allowed(principal, host string, o Operation, kind ResourceType, name string) bool {
	allowed := false
	verdict := func(entries []ACL) (denied bool) {
		for _, a := range entries {
			if !a.concerns(principal, host) {
				continue
			}
			if a.denies(o) {
				return true
			}
			allowed = allowed || a.allows(o)
		}
		return false
	}
	if verdict(s.literal[resource{kind, name}]) || verdict(s.literal[resource{kind, Wildcard}]) && name != Wildcard {
		return false
	}
	for _, length := range s.lengths[kind] {
		if length > len(name) {
			break
		}
		if verdict(s.prefixed[resource{kind, name[:length]}]) {
			return false
		}
	}
	return allowed
}

// AllowedSome reports whether there can be a resource of that type to which the
// principal may do the operation. Kafka asks so whether a producer without a
// transactional id may be idempotent. As there, only the operation itself and
// All count.
func (s *ACLs) AllowedSome(principal, host string, o Operation, kind ResourceType) bool {
	var denials, grants []ACL
	for a := range s.all {
		if a.Resource != kind || !a.concerns(principal, host) || a.Operation != o && a.Operation != All {
			continue
		}
		if a.Permission == Deny {
			denials = append(denials, a)
		} else {
			grants = append(grants, a)
		}
	}
	return slices.ContainsFunc(grants, func(grant ACL) bool {
		return !slices.ContainsFunc(denials, func(denial ACL) bool { return denial.swallows(grant) })
	})
}

// swallows reports whether a's pattern covers everything that b's covers.
func (a ACL) swallows(b ACL) bool {
	everything := a.Pattern == Literal && a.Name == Wildcard
	switch {
	case everything:
		return true
	case b.Pattern == Literal && b.Name == Wildcard:
		return false
	case a.Pattern == Prefixed:
		return strings.HasPrefix(b.Name, a.Name)
	}
	return b.Pattern == Literal && a.Name == b.Name
}
