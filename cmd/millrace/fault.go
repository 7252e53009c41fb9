package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"millrace/internal/client"
	"millrace/internal/engine"
)

// Exit codes, as `millrace --help` lists them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitRefused     = 4
	exitUnreachable = 5
	exitDiffers     = 6   // a check failed
	exitInterrupted = 130 // a second signal
)

// fault is what a user reads when something went wrong: what happened and
// where, and what to do about it. Each code has a line in docs/errors.md.
type fault struct {
	code string
	exit int
	what string
	fix  string
	err  error
}

func (f *fault) Error() string {
	if f.what == "" {
		return f.err.Error()
	}
	return f.what
}

func (f *fault) Unwrap() error { return f.err }

// report writes a fault as two lines: what happened, and the fix.
func (a *app) report(f *fault) {
	red, plain := a.colour(a.stderr, "\x1b[31;1m"), a.colour(a.stderr, "\x1b[0m")
	fmt.Fprintf(a.stderr, "%serror %s:%s %s\n", red, f.code, plain, indentRest(f.Error()))
	if f.fix != "" {
		fmt.Fprintf(a.stderr, "  fix: %s\n", indentRest(f.fix))
	}
}

// indentRest sets the second and further lines of a text under its first.
func indentRest(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") }

// usage is a fault in how a command was called.
func usage(fix, format string, args ...any) error {
	return &fault{code: "E1001", exit: exitUsage, what: fmt.Sprintf(format, args...), fix: fix}
}

// faultOf finds the words for err: its own, if it is a fault already, or those
// for what the client room reports.
func faultOf(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	if refused, ok := errors.AsType[*engine.PreflightError](err); ok {
		return preflightFault(refused)
	}
	if f := clientFault(err); f != nil {
		return f
	}
	if errors.Is(err, context.Canceled) {
		return &fault{code: "E1003", exit: exitFailed, what: "interrupted before it was done"}
	}
	return &fault{code: "E1002", exit: exitFailed, err: err}
}

// preflightFault lists what keeps a job from starting, each with its remedy.
func preflightFault(refused *engine.PreflightError) *fault {
	f := &fault{code: "E1813", exit: exitFailed, what: "the job cannot start on this cluster:", fix: "millrace jobs plan says so again, and when it is right", err: refused}
	if errors.Is(refused, client.ErrForbidden) {
		f.exit = exitRefused
	}
	for _, p := range refused.Problems {
		f.what += "\n- " + p.Error()
	}
	return f
}

func clientFault(err error) *fault {
	topic, noTopic := errors.AsType[client.UnknownTopicError](err)
	group, noGroup := errors.AsType[client.UnknownGroupError](err)
	transaction, noTransaction := errors.AsType[client.UnknownTransactionError](err)
	property, noProperty := errors.AsType[*client.UnknownPropertyError](err)
	switch {
	case noTopic:
		return &fault{code: "E1203", exit: exitNotFound, what: topic.Error(), fix: "millrace topics list", err: err}
	case noGroup:
		return &fault{code: "E1204", exit: exitNotFound, what: group.Error(), fix: "millrace groups list", err: err}
	case noTransaction:
		return &fault{code: "E1209", exit: exitNotFound, what: transaction.Error(), fix: "millrace txn list", err: err}
	case noProperty:
		return &fault{code: "E1004", exit: exitUsage, fix: "remove or correct " + property.Key, err: err}
	case errors.Is(err, client.ErrTopicExists):
		return &fault{code: "E1201", exit: exitFailed, fix: "millrace topics describe NAME shows it; millrace topics alter changes it", err: err}
	case errors.Is(err, client.ErrGroupInUse):
		return &fault{code: "E1205", exit: exitRefused, fix: "stop the group's consumers first: millrace groups describe NAME shows them", err: err}
	case errors.Is(err, client.ErrForbidden):
		return &fault{code: "E1406", exit: exitRefused, fix: "as a super user: millrace acls add --allow USER --operation OPERATION --topic TOPIC; docs/security.md says what each request takes", err: err}
	case errors.Is(err, client.ErrNotAuthorized):
		return &fault{code: "E1402", exit: exitRefused, fix: "check user, password and security.protocol in --command-config", err: err}
	case errors.Is(err, client.ErrUntrusted):
		return &fault{code: "E1404", exit: exitRefused, fix: "name the authority's certificate with ssl.ca.location in --command-config, connect to a name that is in the certificate, and check that the address speaks TLS", err: err}
	case errors.Is(err, client.ErrHungUp):
		return &fault{code: "E1405", exit: exitRefused, fix: "it may ask for a login or for TLS: set security.protocol, sasl.mechanism, sasl.username and sasl.password in --command-config", err: err}
	case errors.Is(err, client.ErrUnreachable):
		return &fault{code: "E1501", exit: exitUnreachable, fix: "start a broker here with `millrace serve`, or name yours with --brokers HOST:PORT", err: err}
	case errors.Is(err, client.ErrRefused):
		return &fault{code: "E1202", exit: exitRefused, fix: "the message above says which value was refused", err: err}
	}
	return nil
}
