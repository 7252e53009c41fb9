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
func (c *cluster) completeTopics(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return c.completeNames(cmd, args, func(ctx context.Context, admin *client.Admin) (names []string) {
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
func (c *cluster) completeGroups(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return c.completeNames(cmd, args, func(ctx context.Context, admin *client.Admin) (names []string) {
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
func (c *cluster) completeNames(cmd *cobra.Command, args []string, ask func(context.Context, *client.Admin) []string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	config, err := c.config()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	admin, err := client.NewAdmin(config)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer admin.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), completionWithin)
	defer cancel()
	return ask(ctx, admin), cobra.ShellCompDirectiveNoFileComp
}
