package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// User is one that can log in to the cluster by SCRAM.
type User struct {
	Name       string
	Mechanisms []string // SCRAM-SHA-256, SCRAM-SHA-512
}

var (
	ErrUserExists = errors.New("the user exists already")
	ErrNoUser     = errors.New("there is no such user")
)

// userIterations is how often a password is hashed; Kafka takes 4096 to 16384.
const userIterations = 10_000

var scramMechanisms = []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512}

// Users lists all users by name.
func (a *Admin) Users(ctx context.Context) ([]User, error) {
	described, err := a.client.DescribeUserSCRAMs(ctx)
	if err != nil {
		return nil, a.wrap("list users", err, "")
	}
	var all []User
	for _, d := range described.Sorted() {
		u := User{Name: d.User}
		for _, c := range d.CredInfos {
			u.Mechanisms = append(u.Mechanisms, c.Mechanism.String())
		}
		all = append(all, u)
	}
	return all, nil
}

// AddUser makes a user who can log in by every SCRAM mechanism. The password
// does not leave this process: the cluster gets salted hashes. [ErrUserExists].
func (a *Admin) AddUser(ctx context.Context, name string, password Secret) error {
	exists, err := a.hasUser(ctx, name)
	switch {
	case err != nil:
		return err
	case exists:
		return fmt.Errorf("%w: %s", ErrUserExists, name)
	}
	return a.putUser(ctx, "add user", name, password)
}

// SetPassword replaces a user's password. [ErrNoUser].
func (a *Admin) SetPassword(ctx context.Context, name string, password Secret) error {
	exists, err := a.hasUser(ctx, name)
	switch {
	case err != nil:
		return err
	case !exists:
		return fmt.Errorf("%w: %s", ErrNoUser, name)
	}
	return a.putUser(ctx, "set password", name, password)
}

func (a *Admin) hasUser(ctx context.Context, name string) (bool, error) {
	found, err := a.userMechanisms(ctx, name)
	return len(found) > 0, err
}

func (a *Admin) userMechanisms(ctx context.Context, name string) ([]kadm.ScramMechanism, error) {
	described, err := a.client.DescribeUserSCRAMs(ctx, name)
	if err != nil {
		return nil, a.wrap("look up user", err, "")
	}
	d := described[name]
	if d.Err != nil && !errors.Is(d.Err, kerr.ResourceNotFound) {
		return nil, a.wrap("look up user", d.Err, d.ErrMessage)
	}
	var found []kadm.ScramMechanism
	for _, c := range d.CredInfos {
		found = append(found, c.Mechanism)
	}
	return found, nil
}

func (a *Admin) putUser(ctx context.Context, doing, name string, password Secret) error {
	var changes []kadm.UpsertSCRAM
	for _, m := range scramMechanisms {
		changes = append(changes, kadm.UpsertSCRAM{User: name, Mechanism: m, Iterations: userIterations, Password: string(password)})
	}
	return a.alterUser(ctx, doing, name, nil, changes)
}

// RemoveUser removes a user with all credentials. [ErrNoUser].
func (a *Admin) RemoveUser(ctx context.Context, name string) error {
	found, err := a.userMechanisms(ctx, name)
	switch {
	case err != nil:
		return err
	case len(found) == 0:
		return fmt.Errorf("%w: %s", ErrNoUser, name)
	}
	var deletions []kadm.DeleteSCRAM
	for _, m := range found {
		deletions = append(deletions, kadm.DeleteSCRAM{User: name, Mechanism: m})
	}
	return a.alterUser(ctx, "remove user", name, deletions, nil)
}

func (a *Admin) alterUser(ctx context.Context, doing, name string, deletions []kadm.DeleteSCRAM, changes []kadm.UpsertSCRAM) error {
	altered, err := a.client.AlterUserSCRAMs(ctx, deletions, changes)
	if err != nil {
		return a.wrap(doing, err, "")
	}
	result := altered[name]
	return a.wrap(doing, result.Err, result.ErrMessage)
}
