package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"millrace/internal/client"
	"millrace/record"
)

func (a *app) groupsCommand() *cobra.Command {
	return noun("groups", "List, describe, reset and delete consumer groups",
		"List, describe, reset and delete the consumer groups of any Kafka cluster.\n\nReset and delete are dry runs until --yes.",
		"  millrace groups list\n  millrace groups describe click_counter_group\n  millrace groups reset click_counter_group --to beginning --yes",
		a.groupsList(), a.groupsDescribe(), a.groupsReset(), a.groupsDelete())
}

func (a *app) groupsList() *cobra.Command {
	var (
		at  cluster
		out output
	)
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List consumer groups with members and lag",
		Long:    "List the consumer groups with their state, their number of members, and how many\nrecords they have not committed yet.",
		Example: "  millrace groups list\n  millrace groups list -o jsonl",
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return at.administer(cmd.Context(), func(admin *client.Admin) error {
				groups, err := admin.Groups(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(out, []string{"GROUP", "STATE", "MEMBERS", "LAG"}, groupListRows(groups))
			})
		},
	}
	at.register(cmd)
	out.register(cmd)
	return cmd
}

func groupListRows(groups []client.Group) []row {
	rows := make([]row, len(groups))
	for i, g := range groups {
		rows[i] = row{
			cells: []string{g.Name, g.State, fmt.Sprint(len(g.Members)), fmt.Sprint(g.Lag())},
			value: struct {
				Group   string `json:"group"`
				State   string `json:"state"`
				Members int    `json:"members"`
				Lag     int64  `json:"lag"`
			}{g.Name, g.State, len(g.Members), g.Lag()},
		}
	}
	return rows
}

// groupOffsetJSON is one partition of a group as -o json shows it.
type groupOffsetJSON struct {
	Group     string           `json:"group"`
	State     string           `json:"state"`
	Topic     record.Topic     `json:"topic"`
	Partition record.Partition `json:"partition"`
	Current   *record.Offset   `json:"current_offset"` // null: none committed
	End       record.Offset    `json:"log_end_offset"`
	Lag       int64            `json:"lag"`
	Member    string           `json:"member,omitempty"`
}

func (a *app) groupsDescribe() *cobra.Command {
	var (
		at  cluster
		out output
	)
	cmd := &cobra.Command{
		Use:     "describe GROUP",
		Short:   "Show where a group stands in each partition",
		Long:    "Show, for each partition, what the group has committed, where the log ends, how many\nrecords lie between, and which member reads it. The columns have Kafka's names.",
		Example: "  millrace groups describe click_counter_group",
		Args:    takes("GROUP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return at.administer(cmd.Context(), func(admin *client.Admin) error {
				g, err := admin.Group(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				a.say("%s  %s  members: %d  lag: %d records", g.Name, g.State, len(g.Members), g.Lag())
				return a.print(out, []string{"TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "MEMBER"}, groupRows(g))
			})
		},
		ValidArgsFunction: a.completeGroups(&at),
	}
	at.register(cmd)
	out.register(cmd)
	return cmd
}

func groupRows(g client.Group) []row {
	var rows []row
	for _, o := range g.Offsets {
		line := groupOffsetJSON{Group: g.Name, State: g.State, Topic: o.Topic, Partition: o.Partition, End: o.End, Lag: o.Lag(), Member: o.Member}
		if o.Committed >= 0 {
			line.Current = &o.Committed
		}
		rows = append(rows, row{
			cells: []string{string(o.Topic), fmt.Sprint(o.Partition), offsetText(o.Committed), fmt.Sprint(o.End), fmt.Sprint(o.Lag()), dash(o.Member)},
			value: line,
		})
	}
	return rows
}

func offsetText(o record.Offset) string {
	if o < 0 {
		return "-"
	}
	return fmt.Sprint(o)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// groupMove is where a group is asked to go.
type groupMove struct {
	group  string
	to     string
	topics []string
	yes    bool
}

func (a *app) groupsReset() *cobra.Command {
	var (
		at   cluster
		out  output
		move groupMove
	)
	cmd := &cobra.Command{
		Use:     "reset GROUP --to POSITION",
		Short:   "Move a group to another position",
		Long:    "Move the committed offsets of a group, which must have no running members. POSITION is\n" + positionHelp + ".\nWithout --yes it shows what would move.",
		Example: "  millrace groups reset click_counter_group --to beginning\n  millrace groups reset click_counter_group --to -1h --topic click_events --yes",
		Args:    takes("GROUP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			move.group = args[0]
			return a.resetGroup(cmd.Context(), at, move, out)
		},
		ValidArgsFunction: a.completeGroups(&at),
	}
	flags := cmd.Flags()
	flags.StringVar(&move.to, "to", "", "new position: "+positionHelp)
	flags.StringArrayVar(&move.topics, "topic", nil, "only this topic; may be repeated (default: all that the group has committed)")
	flags.BoolVar(&move.yes, "yes", false, "really do it")
	at.register(cmd)
	out.register(cmd)
	return cmd
}

func (a *app) resetGroup(ctx context.Context, at cluster, move groupMove, out output) error {
	if move.to == "" {
		return usage("add --to POSITION: "+positionHelp, "--to is missing")
	}
	position, err := parsePosition(move.to, time.Now())
	if err != nil {
		return err
	}
	topics := make([]record.Topic, len(move.topics))
	for i, t := range move.topics {
		topics[i] = record.Topic(t)
	}
	return at.administer(ctx, func(admin *client.Admin) error {
		moves, err := admin.PlanReset(ctx, move.group, topics, position)
		if err != nil {
			return err
		}
		if move.yes {
			if err := admin.ResetOffsets(ctx, move.group, moves); err != nil {
				return err
			}
			a.say("group %s was moved", move.group)
		} else {
			a.say("dry run: nothing was changed. Add --yes to move group %s.", move.group)
		}
		return a.print(out, []string{"TOPIC", "PARTITION", "CURRENT-OFFSET", "NEW-OFFSET"}, moveRows(move.group, moves))
	})
}

func moveRows(group string, moves []client.Move) []row {
	var rows []row
	for _, m := range moves {
		line := struct {
			Group     string           `json:"group"`
			Topic     record.Topic     `json:"topic"`
			Partition record.Partition `json:"partition"`
			Current   *record.Offset   `json:"current_offset"`
			New       record.Offset    `json:"new_offset"`
		}{Group: group, Topic: m.Topic, Partition: m.Partition, New: m.To}
		if m.From >= 0 {
			line.Current = &m.From
		}
		rows = append(rows, row{
			cells: []string{string(m.Topic), fmt.Sprint(m.Partition), offsetText(m.From), fmt.Sprint(m.To)},
			value: line,
		})
	}
	return rows
}

func (a *app) groupsDelete() *cobra.Command {
	var (
		at  cluster
		yes bool
	)
	cmd := &cobra.Command{
		Use:     "delete GROUP",
		Short:   "Delete a group and its offsets",
		Long:    "Delete a consumer group, which must have no running members, with the offsets that it\ncommitted. Without --yes it says what would be deleted.",
		Example: "  millrace groups delete click_counter_group --yes",
		Args:    takes("GROUP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return at.administer(cmd.Context(), func(admin *client.Admin) error {
				return a.deleteGroup(cmd.Context(), admin, args[0], yes)
			})
		},
		ValidArgsFunction: a.completeGroups(&at),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "really do it")
	at.register(cmd)
	return cmd
}

func (a *app) deleteGroup(ctx context.Context, admin *client.Admin, name string, yes bool) error {
	g, err := admin.Group(ctx, name)
	if err != nil {
		return err
	}
	if !yes {
		a.say("dry run: group %s (%s) with offsets of %d partitions would be deleted. Add --yes to delete it.", g.Name, g.State, len(g.Offsets))
		return nil
	}
	if err := admin.DeleteGroup(ctx, g.Name); err != nil {
		return err
	}
	a.say("deleted group %s", g.Name)
	return nil
}
