package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"millrace/internal/client"
	"millrace/record"
)

func (a *app) txnCommand() *cobra.Command {
	return noun("txn", "List, describe and abort transactions",
		"List, describe and abort the transactions of any Kafka cluster. An open one holds up every\nreader at read_committed behind it, until it ends or its timeout passes.\n\nAbort is a dry run until --yes.",
		"  millrace txn list --open\n  millrace txn describe my-app-0\n  millrace txn abort my-app-0 --yes",
		a.txnList(), a.txnDescribe(), a.txnAbort())
}

// transactionJSON is one transactional id as -o json shows it.
type transactionJSON struct {
	ID         string   `json:"transactional_id"`
	State      string   `json:"state"`
	ProducerID int64    `json:"producer_id"`
	Epoch      int16    `json:"producer_epoch"`
	TimeoutMs  int64    `json:"timeout_ms"`
	StartedAt  *string  `json:"started_at"`   // null: no transaction yet
	OpenFor    *float64 `json:"open_seconds"` // null: not open
	Partitions int      `json:"partitions"`
}

func transactionLine(t client.Transaction, now time.Time) transactionJSON {
	line := transactionJSON{
		ID: t.ID, State: t.State, ProducerID: t.ProducerID, Epoch: t.Epoch,
		TimeoutMs: t.Timeout.Milliseconds(), Partitions: len(t.Partitions),
	}
	if !t.Started.IsZero() {
		started := t.Started.UTC().Format(time.RFC3339Nano)
		line.StartedAt = &started
	}
	if t.Open() {
		open := now.Sub(t.Started).Seconds()
		line.OpenFor = &open
	}
	return line
}

func (a *app) txnList() *cobra.Command {
	var (
		at   cluster
		out  output
		open bool
	)
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List transactional ids and their state",
		Long:    "List the transactional ids with their state, and how long an open transaction has been so.",
		Example: "  millrace txn list\n  millrace txn list --open -o jsonl",
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return at.administer(cmd.Context(), func(admin *client.Admin) error {
				transactions, err := admin.Transactions(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(out, []string{"TRANSACTIONAL-ID", "STATE", "PRODUCER-ID", "EPOCH", "OPEN-FOR", "PARTITIONS"}, txnRows(transactions, open, time.Now()))
			})
		},
	}
	cmd.Flags().BoolVar(&open, "open", false, "only open transactions")
	at.register(cmd)
	out.register(cmd)
	return cmd
}

func txnRows(transactions []client.Transaction, onlyOpen bool, now time.Time) []row {
	var rows []row
	for _, t := range transactions {
		if onlyOpen && !t.Open() {
			continue
		}
		rows = append(rows, row{
			cells: []string{t.ID, t.State, fmt.Sprint(t.ProducerID), fmt.Sprint(t.Epoch), openText(t, now), fmt.Sprint(len(t.Partitions))},
			value: transactionLine(t, now),
		})
	}
	return rows
}

func openText(t client.Transaction, now time.Time) string {
	if !t.Open() {
		return "-"
	}
	return now.Sub(t.Started).Round(time.Second).String()
}

func (a *app) txnDescribe() *cobra.Command {
	var (
		at  cluster
		out output
	)
	cmd := &cobra.Command{
		Use:     "describe TRANSACTIONAL-ID",
		Short:   "Show the partitions of a transaction",
		Long:    "Show a transactional id, and the partitions of its transaction while that is open.",
		Example: "  millrace txn describe my-app-0",
		Args:    takes("TRANSACTIONAL-ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return at.administer(cmd.Context(), func(admin *client.Admin) error {
				t, err := admin.Transaction(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				a.say("%s  %s  producer: %d epoch %d  timeout: %v  open for: %s", t.ID, t.State, t.ProducerID, t.Epoch, t.Timeout, openText(t, time.Now()))
				return a.print(out, []string{"TOPIC", "PARTITION"}, txnPartitionRows(t))
			})
		},
		ValidArgsFunction: a.completeTransactions(&at),
	}
	at.register(cmd)
	out.register(cmd)
	return cmd
}

func txnPartitionRows(t client.Transaction) []row {
	rows := make([]row, len(t.Partitions))
	for i, tp := range t.Partitions {
		rows[i] = row{
			cells: []string{string(tp.Topic), fmt.Sprint(tp.Partition)},
			value: struct {
				ID        string           `json:"transactional_id"`
				State     string           `json:"state"`
				Topic     record.Topic     `json:"topic"`
				Partition record.Partition `json:"partition"`
			}{t.ID, t.State, tp.Topic, tp.Partition},
		}
	}
	return rows
}

func (a *app) txnAbort() *cobra.Command {
	var (
		at  cluster
		yes bool
	)
	cmd := &cobra.Command{
		Use:     "abort TRANSACTIONAL-ID",
		Short:   "Abort an open transaction",
		Long:    "Abort the open transaction of a transactional id, and fence the client that runs it: its\nnext request fails, and it has to begin anew. Without --yes it says what would be aborted.",
		Example: "  millrace txn abort my-app-0 --yes",
		Args:    takes("TRANSACTIONAL-ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return at.administer(cmd.Context(), func(admin *client.Admin) error {
				return a.abortTxn(cmd.Context(), admin, args[0], yes)
			})
		},
		ValidArgsFunction: a.completeTransactions(&at),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "really do it")
	at.register(cmd)
	return cmd
}

func (a *app) abortTxn(ctx context.Context, admin *client.Admin, id string, yes bool) error {
	t, err := admin.Transaction(ctx, id)
	if err != nil {
		return err
	}
	switch {
	case !t.Open():
		a.say("%s has no open transaction (%s): there is nothing to abort", t.ID, t.State)
		return nil
	case !yes:
		a.say("dry run: the transaction of %s (%s, open for %s, %d partitions) would be aborted and its client fenced. Add --yes to do it.",
			t.ID, t.State, openText(t, time.Now()), len(t.Partitions))
		return nil
	}
	if err := admin.AbortTransaction(ctx, t); err != nil {
		return err
	}
	if t.State == "PrepareCommit" { // decided before: nobody can change that any more
		a.say("the transaction of %s was being committed, and now it is; its client is fenced", t.ID)
		return nil
	}
	a.say("aborted the transaction of %s and fenced its client", t.ID)
	return nil
}

// completeTransactions offers the cluster's transactional ids for a first argument.
func (a *app) completeTransactions(at *cluster) cobra.CompletionFunc {
	return a.completeNames(at, func(ctx context.Context, admin *client.Admin) (names []string) {
		transactions, err := admin.Transactions(ctx)
		if err != nil {
			return nil
		}
		for _, t := range transactions {
			names = append(names, t.ID)
		}
		return names
	})
}
