package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

const rootHelp = `Millrace is a durable broker of the Kafka protocol in one file, with a click job,
a query API and a live page on top, and tools that work with it or with any other
Kafka cluster.

Data goes to stdout, talk to stderr. On a terminal results are tables, piped they
are one JSON object per line, and -o chooses. Each flag can be given as an
environment variable, --data-dir as MILLRACE_DATA_DIR; what is typed wins, also over
the variable of a flag that it excludes.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused by policy or
authorization, 5 the server could not be reached, 6 a check failed, 130 a second
Ctrl-C.`

const rootExample = `  millrace serve --demo              # broker, click job and page; open http://localhost:8080
  millrace query --top 5             # who clicked most
  millrace consume click_events -n 3 # what they sent`

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "millrace",
		Short:         "A durable Kafka-protocol broker with clicks counted on top",
		Long:          rootHelp,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.warnOfVariables(cmd)
			return a.flagsFromEnvironment(cmd.Flags())
		},
		Args: onlyVerbs,
		RunE: showHelp,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(cmd.CommandPath()+" --help", "%s", err)
	})
	root.AddGroup(
		&cobra.Group{ID: "server", Title: "Run:"},
		&cobra.Group{ID: "data", Title: "Records in and out:"},
		&cobra.Group{ID: "results", Title: "Results:"},
		&cobra.Group{ID: "admin", Title: "Administration:"},
	)
	addTo(root, "server", a.serveCommand(), a.runCommand(), a.demoCommand())
	addTo(root, "data", a.produceCommand(), a.consumeCommand(), a.importCommand())
	addTo(root, "results", a.queryCommand(), a.verifyCommand())
	addTo(root, "admin", a.topicsCommand(), a.groupsCommand(), a.jobsCommand(), a.txnCommand(), a.usersCommand(), a.aclsCommand())
	root.AddCommand(a.initCommand(), a.versionCommand())
	return root
}

func addTo(root *cobra.Command, group string, verbs ...*cobra.Command) {
	for _, verb := range verbs {
		verb.GroupID = group
		root.AddCommand(verb)
	}
}

// noun is a command that only holds verbs: `millrace topics`.
func noun(use, short, long, example string, verbs ...*cobra.Command) *cobra.Command {
	n := &cobra.Command{Use: use, Short: short, Long: long, Example: example, Args: onlyVerbs, RunE: showHelp}
	n.AddCommand(verbs...)
	return n
}

func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// onlyVerbs refuses what is not the name of a verb, with a suggestion.
func onlyVerbs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	what := fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		what += fmt.Sprintf(". Did you mean %q?", near[0])
	}
	return usage(cmd.CommandPath()+" --help", "%s", what)
}

// takes checks the number of arguments against their names in Use.
func takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage(cmd.CommandPath()+" --help", "%s needs %s", cmd.CommandPath(), strings.Join(names[len(args):], " and "))
		case len(args) > len(names):
			return usage(cmd.CommandPath()+" --help", "%s does not take %q", cmd.CommandPath(), args[len(names)])
		}
		return nil
	}
}

// takesAtMost is takes for arguments that may be left out.
func takesAtMost(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > len(names) {
			return usage(cmd.CommandPath()+" --help", "%s does not take %q", cmd.CommandPath(), args[len(names)])
		}
		return nil
	}
}
