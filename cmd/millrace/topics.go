package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"millrace/internal/client"
	"millrace/record"
)

func (a *app) topicsCommand() *cobra.Command {
	return noun("topics", "List, create, describe, change and delete topics",
		"List, create, describe, change and delete the topics of any Kafka cluster.\n\nWhat cannot be taken back (alter, delete) is a dry run until --yes.",
		"  millrace topics list\n  millrace topics create clicks --partitions 8\n  millrace topics delete clicks --yes",
		a.topicsList(), a.topicsCreate(), a.topicsDescribe(), a.topicsAlter(), a.topicsDelete())
}

// topicJSON and partitionJSON are topics as -o json shows them.
type topicJSON struct {
	Topic      record.Topic    `json:"topic"`
	Partitions int             `json:"partitions"`
	Replicas   int             `json:"replicas"`
	Records    int64           `json:"records"`
	SizeBytes  *int64          `json:"size_bytes"`
	Internal   bool            `json:"internal,omitzero"`
	Extents    []partitionJSON `json:"extents,omitempty"`
	Settings   map[string]any  `json:"settings,omitempty"`
}

type partitionJSON struct {
	Partition record.Partition `json:"partition"`
	Leader    int32            `json:"leader"`
	Start     record.Offset    `json:"start"`
	End       record.Offset    `json:"end"`
	SizeBytes *int64           `json:"size_bytes"`
}

func topicLine(t client.Topic) topicJSON {
	return topicJSON{
		Topic: t.Name, Partitions: len(t.Partitions), Replicas: t.Replicas,
		Records: t.Records(), SizeBytes: knownSize(t.SizeBytes), Internal: t.Internal,
	}
}

// knownSize is nil where the cluster does not say.
func knownSize(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

func (a *app) topicsList() *cobra.Command {
	var (
		at       cluster
		out      output
		internal bool
	)
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List topics with their records and size",
		Long:    "List the topics with partitions, records and size. Records are counted by offsets,\nso compaction and transactions make the number an upper bound.",
		Example: "  millrace topics list\n  millrace topics list --internal -o json",
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return at.administer(cmd.Context(), func(admin *client.Admin) error {
				topics, err := admin.Topics(cmd.Context(), internal)
				if err != nil {
					return err
				}
				return a.print(out, []string{"TOPIC", "PARTITIONS", "REPLICAS", "RECORDS", "SIZE"}, topicRows(topics))
			})
		},
	}
	cmd.Flags().BoolVar(&internal, "internal", false, "also list internal topics such as __consumer_offsets")
	at.register(cmd)
	out.register(cmd)
	return cmd
}

func topicRows(topics []client.Topic) []row {
	rows := make([]row, len(topics))
	for i, t := range topics {
		rows[i] = row{
			cells: []string{string(t.Name), fmt.Sprint(len(t.Partitions)), fmt.Sprint(t.Replicas), fmt.Sprint(t.Records()), bytesText(t.SizeBytes)},
			value: topicLine(t),
		}
	}
	return rows
}

func (a *app) topicsCreate() *cobra.Command {
	var (
		at       cluster
		spec     client.TopicSpec
		settings []string
	)
	cmd := &cobra.Command{
		Use:     "create TOPIC",
		Short:   "Create a topic",
		Long:    "Create a topic. Partitions and replicas are the cluster's defaults unless given; the\nnumber of partitions can be raised later, never lowered.",
		Example: "  millrace topics create clicks\n  millrace topics create clicks --partitions 8 --set retention.ms=86400000",
		Args:    takes("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if spec.Settings, err = keyValues("--set", settings); err != nil {
				return err
			}
			spec.Name = record.Topic(args[0])
			if err := spec.Name.Validate(); err != nil {
				return usage("choose another name", "%s", err)
			}
			if spec.Partitions < 0 || spec.Replicas < 0 {
				return usage("use 1 or more, or leave it away", "--partitions is %d and --replicas %d", spec.Partitions, spec.Replicas)
			}
			return at.administer(cmd.Context(), func(admin *client.Admin) error {
				if err := admin.CreateTopic(cmd.Context(), spec); err != nil {
					return err
				}
				a.say("created topic %s", spec.Name)
				return nil
			})
		},
	}
	flags := cmd.Flags()
	flags.IntVarP(&spec.Partitions, "partitions", "p", 0, "number of partitions (default: the cluster's)")
	flags.IntVar(&spec.Replicas, "replicas", 0, "replicas of each partition (default: the cluster's)")
	flags.StringArrayVar(&settings, "set", nil, "a topic setting, `name=value`; may be repeated")
	at.register(cmd)
	return cmd
}

func (a *app) topicsDescribe() *cobra.Command {
	var (
		at  cluster
		out output
		all bool
	)
	cmd := &cobra.Command{
		Use:     "describe TOPIC",
		Short:   "Show partitions and settings of a topic",
		Long:    "Show the partitions of a topic with their offsets and sizes, and the settings that\nwere made on it; --all shows the default ones as well.",
		Example: "  millrace topics describe click_events\n  millrace topics describe click_events --all -o json",
		Args:    takes("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return at.administer(cmd.Context(), func(admin *client.Admin) error {
				topic, settings, err := admin.Topic(cmd.Context(), record.Topic(args[0]))
				if err != nil {
					return err
				}
				return a.printTopic(out, topic, chosenSettings(settings, all))
			})
		},
		ValidArgsFunction: a.completeTopics(&at),
	}
	cmd.Flags().BoolVar(&all, "all", false, "also show settings that have their default value")
	at.register(cmd)
	out.register(cmd)
	return cmd
}

func chosenSettings(settings []client.Setting, all bool) []client.Setting {
	return slices.DeleteFunc(settings, func(s client.Setting) bool { return s.Default && !all })
}

func (a *app) printTopic(out output, t client.Topic, settings []client.Setting) error {
	format, err := out.resolve(a.stdout)
	if err != nil {
		return err
	}
	if format != asTable {
		line := topicLine(t)
		for _, p := range t.Partitions {
			line.Extents = append(line.Extents, partitionJSON{p.Partition, p.Leader, p.Start, p.End, knownSize(p.SizeBytes)})
		}
		line.Settings = make(map[string]any, len(settings))
		for _, s := range settings {
			line.Settings[s.Name] = s.Value
		}
		return a.printOne(out, nil, row{value: line})
	}
	var rows []row
	for _, p := range t.Partitions {
		rows = append(rows, row{cells: []string{
			fmt.Sprint(p.Partition), fmt.Sprint(p.Leader), fmt.Sprint(p.Start), fmt.Sprint(p.End), fmt.Sprint(p.End - p.Start), bytesText(p.SizeBytes),
		}})
	}
	if err := a.print(out, []string{"PARTITION", "LEADER", "START", "END", "RECORDS", "SIZE"}, rows); err != nil || len(settings) == 0 {
		return err
	}
	rows = nil
	for _, s := range settings {
		rows = append(rows, row{cells: []string{s.Name, s.Value}})
	}
	fmt.Fprintln(a.stdout)
	return a.print(out, []string{"SETTING", "VALUE"}, rows)
}

func (a *app) topicsAlter() *cobra.Command {
	var (
		at         cluster
		partitions int
		set, unset []string
		yes        bool
	)
	cmd := &cobra.Command{
		Use:     "alter TOPIC",
		Short:   "Add partitions or change settings of a topic",
		Long:    "Add partitions to a topic, or set and unset its settings. Partitions cannot be taken\naway again, keys may move to other partitions, and shorter retention deletes records:\nso this is a dry run until --yes.",
		Example: "  millrace topics alter clicks --partitions 16 --yes\n  millrace topics alter clicks --set retention.ms=3600000 --unset segment.bytes --yes",
		Args:    takes("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			settings, err := keyValues("--set", set)
			if err != nil {
				return err
			}
			if partitions == 0 && len(settings) == 0 && len(unset) == 0 {
				return usage(cmd.CommandPath()+" --help", "nothing to change: give --partitions, --set or --unset")
			}
			change := topicChange{record.Topic(args[0]), partitions, settings, unset}
			return at.administer(cmd.Context(), func(admin *client.Admin) error {
				return a.alterTopic(cmd.Context(), admin, change, yes)
			})
		},
		ValidArgsFunction: a.completeTopics(&at),
	}
	flags := cmd.Flags()
	flags.IntVarP(&partitions, "partitions", "p", 0, "raise the number of partitions to this")
	flags.StringArrayVar(&set, "set", nil, "set a topic setting, `name=value`; may be repeated")
	flags.StringArrayVar(&unset, "unset", nil, "take a topic setting back to its default; may be repeated")
	flags.BoolVar(&yes, "yes", false, "really do it")
	at.register(cmd)
	return cmd
}

type topicChange struct {
	topic      record.Topic
	partitions int // 0: stay
	set        map[string]string
	unset      []string
}

func (a *app) alterTopic(ctx context.Context, admin *client.Admin, change topicChange, yes bool) error {
	topic, settings, err := admin.Topic(ctx, change.topic)
	if err != nil {
		return err
	}
	if change.partitions != 0 && change.partitions <= len(topic.Partitions) {
		return usage("give a larger number", "topic %s has %d partitions already; they cannot be taken away", change.topic, len(topic.Partitions))
	}
	now := make(map[string]string, len(settings))
	for _, s := range settings {
		now[s.Name] = s.Value
	}
	if change.partitions != 0 {
		a.say("partitions: %d -> %d", len(topic.Partitions), change.partitions)
	}
	for _, name := range slices.Sorted(maps.Keys(change.set)) {
		a.say("%s: %s -> %s", name, now[name], change.set[name])
	}
	for _, name := range change.unset {
		a.say("%s: %s -> default", name, now[name])
	}
	if !yes {
		a.say("dry run: nothing was changed. Add --yes to change topic %s.", change.topic)
		return nil
	}
	if change.partitions != 0 {
		if err := admin.AddPartitions(ctx, change.topic, change.partitions); err != nil {
			return err
		}
	}
	if len(change.set)+len(change.unset) > 0 {
		if err := admin.AlterTopic(ctx, change.topic, change.set, change.unset); err != nil {
			return err
		}
	}
	a.say("changed topic %s", change.topic)
	return nil
}

func (a *app) topicsDelete() *cobra.Command {
	var (
		at  cluster
		yes bool
	)
	cmd := &cobra.Command{
		Use:     "delete TOPIC",
		Short:   "Delete a topic and its records",
		Long:    "Delete a topic and everything in it. Without --yes it says what would be deleted.",
		Example: "  millrace topics delete clicks        # what would go\n  millrace topics delete clicks --yes",
		Args:    takes("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return at.administer(cmd.Context(), func(admin *client.Admin) error {
				return a.deleteTopic(cmd.Context(), admin, record.Topic(args[0]), yes)
			})
		},
		ValidArgsFunction: a.completeTopics(&at),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "really do it")
	at.register(cmd)
	return cmd
}

func (a *app) deleteTopic(ctx context.Context, admin *client.Admin, name record.Topic, yes bool) error {
	topic, _, err := admin.Topic(ctx, name)
	if err != nil {
		return err
	}
	if !yes {
		a.say("dry run: topic %s with %d records in %d partitions would be deleted. Add --yes to delete it.", topic.Name, topic.Records(), len(topic.Partitions))
		return nil
	}
	if err := admin.DeleteTopic(ctx, topic.Name); err != nil {
		return err
	}
	a.say("deleted topic %s with %d records", topic.Name, topic.Records())
	return nil
}

// keyValues reads repeated name=value flags.
func keyValues(flag string, pairs []string) (map[string]string, error) {
	values := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		key, value, found := strings.Cut(pair, "=")
		if !found || key == "" {
			return nil, usage("write "+flag+" name=value", "%s %q has no =", flag, pair)
		}
		values[key] = value
	}
	return values, nil
}
