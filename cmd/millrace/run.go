package main

import (
	"github.com/spf13/cobra"
)

const runHelp = `Run one more instance of the click job on a Kafka cluster: serve without a broker.

Instances share the partitions of click_events; as many as there are partitions have
work. When one ends, the others take over where it had committed; nothing is counted
twice or left out. Each needs a directory of its own for its state, which may be
lost: it is restored from the job's changelog topics. Each answers for every user:
it asks the instance that counts the user. For that the others must reach its
--http-addr.

With --instance-id an instance that comes back within ten seconds under the same
name gets its tasks back, and nothing moves.`

const runExample = `  millrace run --brokers kafka-1:9092,kafka-2:9092
  millrace run --brokers kafka-1:9092 --instance-id worker-1 --data-dir /var/lib/millrace
  millrace run --brokers kafka-1:9092 --command-config prod.properties --results click_counts --keyed`

// runCommand is serve for workers: the settings that concern a broker are left
// at what serve would have, and do nothing.
func (a *app) runCommand() *cobra.Command {
	f := serveFlags{kafkaAddr: "localhost:0", durability: "fsync", defaultPartitions: 1, offsetsPartitions: 1, security: securityFlags{auth: authNone, maxConnections: 1, maxConnectionsPerIP: 1}}
	cmd := &cobra.Command{
		Use:     "run",
		Short:   "Run an instance of the click job on a Kafka cluster",
		Long:    runHelp,
		Example: runExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.cluster.brokers == "" {
				return usage("name the cluster, such as --brokers localhost:9092, or use millrace serve, which brings a broker", "--brokers is missing")
			}
			s, err := f.settings()
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), s)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dataDir, "data-dir", "./millrace-data", "where this instance keeps its state; no two share one")
	flags.StringVar(&f.httpAddr, "http-addr", "localhost:8080", "listener of page, query API, metrics and health; other instances are told it")
	flags.StringVar(&f.memory, "memory", "256MiB", "memory of the click job: state cache, fetches and open transactions")
	flags.BoolVar(&f.insecure, "insecure-allow-anonymous", false, "allow an --http-addr that other machines can reach, without authentication")
	flags.StringVar(&f.cluster.brokers, "brokers", "", "the Kafka cluster, HOST:PORT separated by commas")
	flags.StringVar(&f.cluster.commandConfig, "command-config", "", "file of Kafka client properties (TLS, SASL)")
	f.job.register(cmd)
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "text", "text, or json for machines")
	complete(cmd, "log-level", "debug", "info", "warn", "error")
	complete(cmd, "log-format", "text", "json")
	return cmd
}
