package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"millrace/internal/client"
)

// completionWithin bounds what a press of the tab key may take.
const completionWithin = 500 * time.Millisecond

// completeTopics offers the cluster's topics for a first argument.
func (a *app) completeTopics(at *cluster) cobra.CompletionFunc {
	return a.completeNames(at, func(ctx context.Context, admin *client.Admin) (names []string) {
		topics, err := admin.Topics(ctx, false)
		if err != nil {
			return nil
		}
		for _, t := range topics {
			names = append(names, string(t.Name))
		}
		return names
	})
}

// completeGroups offers the cluster's consumer groups for a first argument.
func (a *app) completeGroups(at *cluster) cobra.CompletionFunc {
	return a.completeNames(at, func(ctx context.Context, admin *client.Admin) (names []string) {
		groups, err := admin.Groups(ctx)
		if err != nil {
			return nil
		}
		for _, g := range groups {
			names = append(names, g.Name)
		}
		return names
	})
}

// completeNames asks the cluster; whatever goes wrong, there is nothing to offer.
func (a *app) completeNames(at *cluster, ask func(context.Context, *client.Admin) []string) cobra.CompletionFunc {
	const only = cobra.ShellCompDirectiveNoFileComp
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || a.flagsFromEnvironment(cmd.Flags()) != nil {
			return nil, only
		}
		config, err := at.config()
		if err != nil {
			return nil, only
		}
		admin, err := client.NewAdmin(config)
		if err != nil {
			return nil, only
		}
		defer admin.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), completionWithin)
		defer cancel()
		return ask(ctx, admin), only
	}
}
