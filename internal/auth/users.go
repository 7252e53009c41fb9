package auth

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// MaxUsers bounds the users; at the bound a new one is refused.
const MaxUsers = 10_000

var (
	// ErrNoUser means that the user, or its credential for that mechanism, does
	// not exist.
	ErrNoUser = errors.New("auth: no such user")
	// ErrTooMany means that a bound on users or ACLs is reached.
	ErrTooMany = errors.New("auth: too many")
)

// Users are the users and their credentials. A value never changes: With and
// Without give a new one, so readers need no lock.
type Users struct {
	secret []byte // makes the salts of users that do not exist
	byName map[string]map[Mechanism]Credential
}

// NewUsers has no users. secret is random and stays the same for the life of a
// data directory.
func NewUsers(secret []byte) *Users {
	return &Users{secret: secret, byName: map[string]map[Mechanism]Credential{}}
}

// Len is the number of users.
func (u *Users) Len() int { return len(u.byName) }

// Names are the users, sorted.
func (u *Users) Names() []string { return slices.Sorted(maps.Keys(u.byName)) }

// Mechanisms are those for which the user has a credential; none when there is
// no such user.
func (u *Users) Mechanisms(name string) []Mechanism {
	return slices.Sorted(maps.Keys(u.byName[name]))
}

// Credential is the user's credential. For a user without one it is a decoy,
// which is always the same for one name and which no password fits: whoever
// tries cannot tell the difference.
func (u *Users) Credential(name string, m Mechanism) (c Credential, known bool) {
	if c, known = u.byName[name][m]; known {
		return c, true
	}
	salt := mac(m, u.secret, "salt of "+name)
	return Credential{
		Iterations: DefaultIterations,
		Salt:       salt[:NewSaltBytes],
		StoredKey:  mac(m, u.secret, "stored key of "+name),
		ServerKey:  mac(m, u.secret, "server key of "+name),
	}, false
}

// Verify reports whether the password is the user's. It takes about as long for
// a user that does not exist.
func (u *Users) Verify(name, password string) bool {
	m := ScramSHA256
	if _, has := u.byName[name][m]; !has {
		if _, other := u.byName[name][ScramSHA512]; other {
			m = ScramSHA512
		}
	}
	c, known := u.Credential(name, m)
	return c.Verify(m, password) && known
}

// With is u with the credential, which replaces that of the same mechanism.
func (u *Users) With(name string, m Mechanism, c Credential) (*Users, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if err := c.check(m); err != nil {
		return nil, err
	}
	if _, exists := u.byName[name]; !exists && len(u.byName) >= MaxUsers {
		return nil, fmt.Errorf("%w users: at most %d", ErrTooMany, MaxUsers)
	}
	next := &Users{secret: u.secret, byName: maps.Clone(u.byName)}
	credentials := maps.Clone(u.byName[name])
	if credentials == nil {
		credentials = map[Mechanism]Credential{}
	}
	credentials[m] = c
	next.byName[name] = credentials
	return next, nil
}

// Without is u without the credential; a user without any is gone.
func (u *Users) Without(name string, m Mechanism) (*Users, error) {
	if _, exists := u.byName[name][m]; !exists {
		return nil, fmt.Errorf("%w: %q has no credential for %s", ErrNoUser, name, m)
	}
	next := &Users{secret: u.secret, byName: maps.Clone(u.byName)}
	credentials := maps.Clone(u.byName[name])
	delete(credentials, m)
	next.byName[name] = credentials
	if len(credentials) == 0 {
		delete(next.byName, name)
	}
	return next, nil
}
