package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"millrace/internal/client"
)

// warnOfVariables names variables that are set, that no command reads, and that
// are written almost as one which is read. What is like none of them is not ours:
// Kubernetes sets MILLRACE_SERVICE_HOST and more for a service called millrace.
// Commands without a group, such as version and completion, read none.
func (a *app) warnOfVariables(cmd *cobra.Command) {
	if a.environ == nil || !grouped(cmd) {
		return
	}
	known := variablesOf(cmd.Root())
	for _, variable := range a.environ() {
		name, value, _ := strings.Cut(variable, "=")
		if value == "" || slices.Contains(known, name) {
			continue
		}
		if meant := likelyMeant(name, known); meant != "" {
			a.say("%s is not read. Did you mean %s?", name, meant)
		}
	}
}

func grouped(cmd *cobra.Command) bool {
	for ; cmd != nil; cmd = cmd.Parent() {
		if cmd.GroupID != "" {
			return true
		}
	}
	return false
}

// variablesOf are the variables of all flags of a command and those below it,
// sorted.
func variablesOf(cmd *cobra.Command) []string {
	var all []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { all = append(all, variableOf(f.Name)) })
	for _, child := range cmd.Commands() {
		all = append(all, variablesOf(child)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// likelyMeant is the one of known that name is a misspelling of, or empty. Names
// of a few letters are near to too many others.
func likelyMeant(name string, known []string) string {
	own, ours := strings.CutPrefix(name, variablePrefix)
	if !ours || len(own) < shortestMisspelt {
		return ""
	}
	names := make([]string, len(known))
	for i := range known {
		names[i] = strings.TrimPrefix(known[i], variablePrefix)
	}
	if near := client.Nearest(own, names); near != "" {
		return variablePrefix + near
	}
	return ""
}

const shortestMisspelt = 5
