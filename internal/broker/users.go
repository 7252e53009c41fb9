package broker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"millrace/internal/auth"
	"millrace/internal/vfs"
)

// security holds the users and ACLs of the data directory. Every connection
// reads them without a lock; a change is durable before it counts.
type security struct {
	fsys    vfs.FS
	super   map[string]bool // principals that may do everything
	hashing chan struct{}   // slots for checking passwords, which costs milliseconds each
	delays  loginDelays

	current atomic.Pointer[rights]
	mu      sync.Mutex // held while they change
}

// rights are the users and ACLs at one moment. A value never changes.
type rights struct {
	users *auth.Users
	acls  *auth.ACLs
}

// securityFile holds users and ACLs in metadataDir; see auth.Document.
const securityFile = "security"

// openSecurity reads users and ACLs. A damaged file is an error: to serve on
// without it would let in, or keep out, the wrong people.
func openSecurity(fsys vfs.FS, superUsers []string, logger *slog.Logger) (*security, error) {
	s := &security{fsys: fsys, super: map[string]bool{}, hashing: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
	for _, principal := range superUsers {
		s.super[principal] = true
	}
	var stored auth.Document
	err := readStateFile(fsys, metadataDir, securityFile, &stored)
	if errors.Is(err, fs.ErrNotExist) {
		secret := make([]byte, auth.SecretBytes)
		_, _ = rand.Read(secret) // never fails (Go 1.24)
		s.current.Store(&rights{auth.NewUsers(secret), auth.NewACLs()})
		return s, nil
	}
	var now rights
	if err == nil {
		now.users, now.acls, err = stored.Open()
	}
	if err != nil {
		return nil, fmt.Errorf("users and ACLs cannot be read: put back %s/%s from a backup, or remove it to begin without users and ACLs: %w", metadataDir, securityFile, err)
	}
	s.current.Store(&now)
	logger.Info("users and ACLs", "users", now.users.Len(), "acls", now.acls.Len(), "super_users", len(s.super))
	return s, nil
}

func (s *security) users() *auth.Users { return s.current.Load().users }

func (s *security) acls() *auth.ACLs { return s.current.Load().acls }

// change makes what edit gives durable, then lets it count. After an error of
// edit nothing has changed.
func (s *security) change(edit func(now rights) (rights, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := edit(*s.current.Load())
	if err != nil {
		return err
	}
	if err := writeStateFiles(s.fsys, metadataDir, stateFile{securityFile, auth.NewDocument(next.users, next.acls)}); err != nil {
		return fmt.Errorf("store users and ACLs: %w", err)
	}
	s.current.Store(&next)
	return nil
}

// changeUsers is change for the users alone.
func (s *security) changeUsers(edit func(*auth.Users) (*auth.Users, error)) error {
	return s.change(func(now rights) (rights, error) {
		users, err := edit(now.users)
		return rights{users, now.acls}, err
	})
}

// ErrUserExists refuses to make a user that is there already.
var ErrUserExists = errors.New("broker: the user exists already")

// ErrNoUser means that there is no user of that name.
var ErrNoUser = auth.ErrNoUser

// ErrBadUser means that a user's name or password cannot be: the text says why.
var ErrBadUser = auth.ErrCredential

// Users are the names of the users, sorted, each with its SCRAM mechanisms.
func (b *Broker) Users() []User {
	users := b.security.users()
	all := make([]User, 0, users.Len())
	for _, name := range users.Names() {
		u := User{Name: name}
		for _, m := range users.Mechanisms(name) {
			u.Mechanisms = append(u.Mechanisms, string(m))
		}
		all = append(all, u)
	}
	return all
}

// User is one that can log in.
type User struct {
	Name       string
	Mechanisms []string // SCRAM-SHA-256, SCRAM-SHA-512; PLAIN works with either
}

// AddUser makes a user who can log in by every mechanism. [ErrUserExists],
// [ErrBadUser].
func (b *Broker) AddUser(name, password string) error {
	return b.putUser(name, password, func(u *auth.Users) error {
		if len(u.Mechanisms(name)) > 0 {
			return fmt.Errorf("%w: %q", ErrUserExists, name)
		}
		return nil
	})
}

// SetPassword replaces a user's password. [ErrNoUser], [ErrBadUser].
func (b *Broker) SetPassword(name, password string) error {
	return b.putUser(name, password, func(u *auth.Users) error {
		if len(u.Mechanisms(name)) == 0 {
			return fmt.Errorf("%w: %q", ErrNoUser, name)
		}
		return nil
	})
}

func (b *Broker) putUser(name, password string, check func(*auth.Users) error) error {
	if err := auth.CheckName(name); err != nil {
		return err
	}
	return b.security.changeUsers(func(u *auth.Users) (*auth.Users, error) {
		err := check(u)
		for _, m := range auth.ScramMechanisms() {
			if err != nil {
				return nil, err
			}
			salt := make([]byte, auth.NewSaltBytes)
			_, _ = rand.Read(salt) // never fails (Go 1.24)
			var c auth.Credential
			if c, err = auth.NewCredential(m, password, salt, auth.DefaultIterations); err == nil {
				u, err = u.With(name, m, c)
			}
		}
		return u, err
	})
}

// RemoveUser removes a user and closes its connections. [ErrNoUser].
func (b *Broker) RemoveUser(name string) error {
	err := b.security.changeUsers(func(u *auth.Users) (*auth.Users, error) {
		mechanisms := u.Mechanisms(name)
		if len(mechanisms) == 0 {
			return nil, fmt.Errorf("%w: %q", ErrNoUser, name)
		}
		var err error
		for _, m := range mechanisms {
			if err == nil {
				u, err = u.Without(name, m)
			}
		}
		return u, err
	})
	if err == nil {
		b.cutUsersThatAreGone()
	}
	return err
}

// cutUsersThatAreGone closes the connections of who can no longer log in.
func (b *Broker) cutUsersThatAreGone() {
	users := b.security.users()
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.mu.conns {
		if user := c.user.Load(); user != nil && len(users.Mechanisms(*user)) == 0 {
			c.giveUp()
		}
	}
}

// checkSuperUsers reports a principal that is not User:NAME.
func checkSuperUsers(principals []string) error {
	for _, p := range principals {
		if name, ok := strings.CutPrefix(p, auth.UserPrincipal("")); !ok || name == "" {
			return fmt.Errorf("super user %q is not User:NAME", p)
		}
	}
	return nil
}
