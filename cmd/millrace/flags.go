package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"millrace/internal/client"
)

// flagsFromEnvironment gives each flag that is not on the command line the value
// of its variable: --data-dir is MILLRACE_DATA_DIR. An empty variable counts as
// not set, and so does that of a flag which would take one that was typed out of
// effect.
func (a *app) flagsFromEnvironment(flags *pflag.FlagSet) error {
	typed := make(map[string]bool)
	flags.Visit(func(f *pflag.Flag) { typed[f.Name] = true })
	isTyped := func(name string) bool { return typed[name] }
	var faults []error
	flags.VisitAll(func(f *pflag.Flag) {
		if isTyped(f.Name) || f.Name == "help" || f.Annotations[onlyTyped] != nil || slices.ContainsFunc(f.Annotations[givesWayTo], isTyped) {
			return
		}
		name := variableOf(f.Name)
		value, set := a.getenv(name)
		if f.Name == "brokers" && !set && f.Annotations[readsKafkaBrokers] != nil {
			name = "KAFKA_BROKERS"
			value, set = a.getenv(name)
		}
		if !set || value == "" {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			faults = append(faults, fmt.Errorf("%s=%s: %w", name, value, err))
		}
	})
	if err := errors.Join(faults...); err != nil {
		return usage("correct or unset the variable", "%s", err)
	}
	return nil
}

func variableOf(flag string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

const variablePrefix = "MILLRACE_"

// Annotations of flags.
const (
	givesWayTo = "millrace_gives_way_to" // its variable is not read when one of these flags is typed
	onlyTyped  = "millrace_only_typed"   // it has no variable
)

// excludes says that a flag and each of the others are not for the same command:
// a typed one goes before the variables of those that it excludes.
func excludes(flags *pflag.FlagSet, name string, others ...string) {
	for _, other := range others {
		giveWay(flags, name, other)
		giveWay(flags, other, name)
	}
}

func giveWay(flags *pflag.FlagSet, name, typed string) {
	var before []string
	if f := flags.Lookup(name); f != nil {
		before = f.Annotations[givesWayTo]
	}
	// The flag exists: each caller registers it first.
	_ = flags.SetAnnotation(name, givesWayTo, append(before, typed))
}

// registerAtRest adds --data-dir to a command that works on a cluster otherwise.
// MILLRACE_DATA_DIR tells a server where its data is. That it is set does not mean
// that the server is stopped, and that such a command should work there.
func registerAtRest(flags *pflag.FlagSet, dir *string) {
	flags.StringVar(dir, "data-dir", "", "work on this data directory, whose server is not running, instead of a cluster; a typed --brokers wins, no variable is read for it")
	excludes(flags, "data-dir", "brokers")
	// The flag exists: it was registered above.
	_ = flags.SetAnnotation("data-dir", onlyTyped, []string{"true"})
}

// readsKafkaBrokers marks --brokers flags that KAFKA_BROKERS may fill, too.
const readsKafkaBrokers = "millrace_reads_kafka_brokers"

// cluster is how a command reaches Kafka: flags that all client verbs share.
type cluster struct {
	brokers       string
	commandConfig string
	properties    []string
}

func (c *cluster) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&c.brokers, "brokers", "b", "", "broker addresses, HOST:PORT, comma-separated (default localhost:9092)")
	flags.StringVar(&c.commandConfig, "command-config", "", "file of Kafka client properties, such as security.protocol or sasl.mechanism")
	flags.StringArrayVarP(&c.properties, "property", "X", nil, "one Kafka client property, `key=value`; may be repeated")
	flags.SetNormalizeFunc(bootstrapServerToo)
	// The flag exists: it was registered above.
	_ = flags.SetAnnotation("brokers", readsKafkaBrokers, []string{"true"})
}

// bootstrapServerToo accepts the name that Kafka's own tools use.
func bootstrapServerToo(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if name == "bootstrap-server" {
		name = "brokers"
	}
	return pflag.NormalizedName(name)
}

// config is the client configuration: the file, then properties, then --brokers.
func (c *cluster) config() (client.Config, error) {
	var config client.Config
	if c.commandConfig != "" {
		if err := config.LoadProperties(c.commandConfig); err != nil {
			return config, propertiesFault(err)
		}
	}
	for _, property := range c.properties {
		key, value, found := strings.Cut(property, "=")
		if !found {
			return config, usage("write -X key=value", "-X %s has no =", property)
		}
		if err := config.Set(key, value); err != nil {
			return config, propertiesFault(err)
		}
	}
	if c.brokers != "" {
		config.Brokers = client.SplitBrokers(c.brokers)
	}
	if err := config.Validate(); err != nil {
		return config, usage("correct the client settings", "%s", err)
	}
	return config, nil
}

func propertiesFault(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return &fault{code: "E1005", exit: exitUsage, what: fmt.Sprintf("--command-config cannot be read: %s", err), fix: "name a readable file of key=value lines"}
	}
	return &fault{code: "E1004", exit: exitUsage, what: err.Error(), fix: "docs/cli.md lists the client properties", err: err}
}

// administer connects, checks that the cluster can be reached, and does the work.
func (c *cluster) administer(ctx context.Context, work func(*client.Admin) error) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	admin, err := client.NewAdmin(config)
	if err != nil {
		return err
	}
	defer admin.Close()
	if err := admin.Check(ctx); err != nil {
		return err
	}
	return work(admin)
}
