package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"millrace/internal/broker"
	"millrace/internal/client"
	"millrace/internal/log"
	"millrace/internal/vfs"
)

func (a *app) usersCommand() *cobra.Command {
	return noun("users", "List, add and delete users, set passwords",
		"List, add and delete the users who may log in by SASL, and set their passwords, on any\nKafka cluster; or, with --data-dir, in the data directory of a server that is not\nrunning: that is how the first user comes into being.\n\n"+passwordHelp,
		"  millrace users add admin --data-dir ./millrace-data\n  millrace users add ana --command-config admin.properties\n  millrace users list --command-config admin.properties",
		a.usersList(), a.usersAdd(), a.usersPasswd(), a.usersDelete())
}

const passwordHelp = `The password is asked for on a terminal, or read as the first line of stdin. It is not
taken as an argument, which other users of the machine could see.`

// userStore is where users are kept: a running cluster, or a data directory at rest.
type userStore interface {
	Users(ctx context.Context) ([]client.User, error)
	AddUser(ctx context.Context, name string, password client.Secret) error
	SetPassword(ctx context.Context, name string, password client.Secret) error
	RemoveUser(ctx context.Context, name string) error
}

// userPlace are the flags that choose one.
type userPlace struct {
	cluster cluster
	dataDir string
}

func (p *userPlace) register(cmd *cobra.Command) {
	p.cluster.register(cmd)
	registerAtRest(cmd.Flags(), &p.dataDir)
}

// open does work on the users of the chosen place.
func (p *userPlace) open(ctx context.Context, work func(userStore) error) error {
	if p.dataDir == "" || p.cluster.brokers != "" {
		return p.cluster.administer(ctx, func(admin *client.Admin) error { return userFault(work(admin)) })
	}
	disk, err := vfs.OpenOS(p.dataDir)
	if err != nil {
		return directoryFault(p.dataDir, err)
	}
	b, err := broker.Open(broker.Config{FS: disk, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return errors.Join(atRestFault(p.dataDir, err), disk.Close())
	}
	err = userFault(work(dataDirUsers{b}))
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	return errors.Join(err, b.Close(closing), disk.Close())
}

// atRestFault is directoryFault with the way to go while the server runs.
func atRestFault(dir string, err error) error {
	fault := directoryFault(dir, err)
	if f := faultOf(fault); errors.Is(err, log.ErrLocked) {
		f.fix = "the server that uses it is running: leave out --data-dir, and log in as a super user with --command-config FILE"
		return f
	}
	return fault
}

// userFault finds the words for what went wrong with a user.
func userFault(err error) error {
	switch {
	case errors.Is(err, client.ErrUserExists), errors.Is(err, broker.ErrUserExists):
		return &fault{code: "E1207", exit: exitFailed, err: err, fix: "millrace users passwd NAME sets a new password"}
	case errors.Is(err, client.ErrNoUser), errors.Is(err, broker.ErrNoUser):
		return &fault{code: "E1208", exit: exitNotFound, err: err, fix: "millrace users list"}
	case errors.Is(err, broker.ErrBadUser):
		return &fault{code: "E1202", exit: exitRefused, err: err, fix: "the message above says which value was refused"}
	}
	return err
}

// dataDirUsers are the users of a broker that serves nobody.
type dataDirUsers struct{ broker *broker.Broker }

func (d dataDirUsers) Users(context.Context) ([]client.User, error) {
	var all []client.User
	for _, u := range d.broker.Users() {
		all = append(all, client.User{Name: u.Name, Mechanisms: u.Mechanisms})
	}
	return all, nil
}

func (d dataDirUsers) AddUser(_ context.Context, name string, password client.Secret) error {
	return d.broker.AddUser(name, string(password))
}

func (d dataDirUsers) SetPassword(_ context.Context, name string, password client.Secret) error {
	return d.broker.SetPassword(name, string(password))
}

func (d dataDirUsers) RemoveUser(_ context.Context, name string) error {
	return d.broker.RemoveUser(name)
}

func (a *app) usersList() *cobra.Command {
	var (
		at  userPlace
		out output
	)
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List users with their login mechanisms",
		Long:    "List the users who may log in, with the SCRAM mechanisms that they can use. On Millrace\nPLAIN works as well, over TLS or from the same machine.",
		Example: "  millrace users list --command-config admin.properties\n  millrace users list --data-dir ./millrace-data",
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return at.open(cmd.Context(), func(store userStore) error {
				users, err := store.Users(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(out, []string{"USER", "MECHANISMS"}, userListRows(users))
			})
		},
	}
	at.register(cmd)
	out.register(cmd)
	return cmd
}

func userListRows(users []client.User) []row {
	rows := make([]row, len(users))
	for i, u := range users {
		rows[i] = row{
			cells: []string{u.Name, strings.Join(u.Mechanisms, ", ")},
			value: struct {
				User       string   `json:"user"`
				Mechanisms []string `json:"mechanisms"`
			}{u.Name, u.Mechanisms},
		}
	}
	return rows
}

func (a *app) usersAdd() *cobra.Command {
	return a.passwordCommand("add NAME", "Add a user", "Add a user who may log in by SCRAM-SHA-256 and SCRAM-SHA-512, and on Millrace by PLAIN.\nWhat the user may do, ACLs say.\n\n"+passwordHelp,
		"  millrace users add admin --data-dir ./millrace-data\n  millrace users add ana --command-config admin.properties < password.txt",
		userStore.AddUser, "added user %s")
}

func (a *app) usersPasswd() *cobra.Command {
	return a.passwordCommand("passwd NAME", "Set a user's password", "Set the password of a user. Connections that are open stay.\n\n"+passwordHelp,
		"  millrace users passwd ana --command-config admin.properties",
		userStore.SetPassword, "user %s has a new password")
}

// passwordCommand is a verb that gives a user a password.
func (a *app) passwordCommand(use, short, long, example string, put func(userStore, context.Context, string, client.Secret) error, done string) *cobra.Command {
	var at userPlace
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args: takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := a.readPassword(args[0])
			if err != nil {
				return err
			}
			return at.open(cmd.Context(), func(store userStore) error {
				if err := put(store, cmd.Context(), args[0], password); err != nil {
					return err
				}
				a.say(done, args[0])
				return nil
			})
		},
	}
	at.register(cmd)
	return cmd
}

// readPassword asks twice on a terminal, where nothing shows; else it takes the
// first line of stdin.
func (a *app) readPassword(name string) (client.Secret, error) {
	password, err := a.passwordLine(name)
	switch {
	case err != nil:
		return "", err
	case password == "":
		return "", usage("type one, or give it as the first line of stdin", "the password is empty")
	}
	return client.Secret(password), nil
}

func (a *app) passwordLine(name string) (string, error) {
	if !isTerminal(a.stdin) {
		line, err := bufio.NewReader(io.LimitReader(a.stdin, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password from stdin: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	terminal := a.stdin.(*os.File)
	first, err := a.askHidden(terminal, "Password for "+name+": ")
	if err != nil {
		return "", err
	}
	second, err := a.askHidden(terminal, "Once more: ")
	if err == nil && first != second {
		err = usage("try again", "the two passwords differ")
	}
	return first, err
}

func (a *app) askHidden(terminal *os.File, question string) (string, error) {
	fmt.Fprint(a.stderr, question)
	defer fmt.Fprintln(a.stderr)
	answer, err := term.ReadPassword(int(terminal.Fd()))
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(answer), nil
}

func (a *app) usersDelete() *cobra.Command {
	var (
		at  userPlace
		yes bool
	)
	cmd := &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a user",
		Long:    "Delete a user. Millrace closes the user's connections; ACLs that name the user stay.\nWithout --yes it says what would be deleted.",
		Example: "  millrace users delete ana --command-config admin.properties --yes",
		Args:    takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return at.open(cmd.Context(), func(store userStore) error {
				return a.deleteUser(cmd.Context(), store, args[0], yes)
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "really do it")
	at.register(cmd)
	return cmd
}

func (a *app) deleteUser(ctx context.Context, store userStore, name string, yes bool) error {
	if yes {
		if err := store.RemoveUser(ctx, name); err != nil {
			return err
		}
		a.say("deleted user %s", name)
		return nil
	}
	users, err := store.Users(ctx)
	if err != nil {
		return err
	}
	for _, u := range users {
		if u.Name == name {
			a.say("dry run: user %s would be deleted. Add --yes to delete it.", name)
			return nil
		}
	}
	return fmt.Errorf("%w: %s", client.ErrNoUser, name)
}
