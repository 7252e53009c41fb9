package auth

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Document is how users and ACLs are stored, as JSON in one file that is
// replaced as a whole. It is a form for the disk only: [Document.Open] checks
// it.
type Document struct {
	Version int          `json:"version"`
	Secret  []byte       `json:"secret"` // see NewUsers
	Users   []StoredUser `json:"users"`
	ACLs    []ACL        `json:"acls"`
}

// StoredUser is one credential of one user.
type StoredUser struct {
	Name      string    `json:"name"`
	Mechanism Mechanism `json:"mechanism"`
	Credential
}

const (
	documentVersion = 1
	// SecretBytes is the length of Document.Secret.
	SecretBytes = 32
)

// NewDocument is what is to be stored, in a fixed order.
func NewDocument(u *Users, acls *ACLs) Document {
	d := Document{Version: documentVersion, Secret: u.secret, ACLs: acls.Entries()}
	for name, credentials := range u.byName {
		for m, c := range credentials {
			d.Users = append(d.Users, StoredUser{name, m, c})
		}
	}
	slices.SortFunc(d.Users, func(a, b StoredUser) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(string(a.Mechanism), string(b.Mechanism)))
	})
	return d
}

// Open checks a document that was read. Any fault in it is an error: half of a
// list of who may do what is worse than none.
func (d Document) Open() (*Users, *ACLs, error) {
	switch {
	case d.Version != documentVersion:
		return nil, nil, fmt.Errorf("users and ACLs have format version %d, this Millrace reads %d", d.Version, documentVersion)
	case len(d.Secret) != SecretBytes:
		return nil, nil, fmt.Errorf("users and ACLs: the secret has %d bytes, not %d", len(d.Secret), SecretBytes)
	case len(d.ACLs) > MaxACLs:
		return nil, nil, fmt.Errorf("%w ACLs: %d", ErrTooMany, len(d.ACLs))
	}
	for i, a := range d.ACLs {
		if err := a.Check(); err != nil {
			return nil, nil, fmt.Errorf("ACL %d: %w", i, err)
		}
	}
	users, err := openUsers(d.Secret, d.Users)
	if err != nil {
		return nil, nil, err
	}
	return users, NewACLs(d.ACLs...), nil
}

func openUsers(secret []byte, stored []StoredUser) (*Users, error) {
	users := NewUsers(secret)
	for i, s := range stored {
		if err := CheckName(s.Name); err != nil {
			return nil, fmt.Errorf("user %d: %w", i, err)
		}
		if err := s.check(s.Mechanism); err != nil {
			return nil, fmt.Errorf("user %d: %w", i, err)
		}
		if users.byName[s.Name] == nil {
			users.byName[s.Name] = map[Mechanism]Credential{}
		}
		if _, twice := users.byName[s.Name][s.Mechanism]; twice {
			return nil, fmt.Errorf("user %d: a second credential of the same user for %s", i, s.Mechanism)
		}
		users.byName[s.Name][s.Mechanism] = s.Credential
	}
	if users.Len() > MaxUsers {
		return nil, fmt.Errorf("%w users: %d", ErrTooMany, users.Len())
	}
	return users, nil
}
