package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"millrace/internal/client"
)

func (a *app) aclsCommand() *cobra.Command {
	return noun("acls", "List, add and delete what users may do",
		"List, add and delete the entries of the access control lists of any Kafka cluster that has\nthem; of Millrace with --auth sasl. docs/security.md says what each request takes.",
		"  millrace acls list --command-config admin.properties\n  millrace acls add --allow ana --operation read --topic click_events --command-config admin.properties",
		a.aclsList(), a.aclsAdd(), a.aclsDelete())
}

// aclFlags describe entries: each resource with each user, host and operation.
type aclFlags struct {
	topics, groups, transactionalIDs []string
	wholeCluster                     bool
	prefixed                         bool
	allow, deny                      []string
	hosts, operations                []string
}

func (f *aclFlags) register(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.topics, "topic", nil, "topics, comma-separated; * is all")
	flags.StringSliceVar(&f.groups, "group", nil, "consumer groups")
	flags.StringSliceVar(&f.transactionalIDs, "transactional-id", nil, "transactional ids")
	flags.BoolVar(&f.wholeCluster, "cluster", false, "the cluster as a whole")
	flags.BoolVar(&f.prefixed, "prefixed", false, "the names are prefixes")
	flags.StringSliceVar(&f.allow, "allow", nil, "users who may: ana or User:ana; User:* is all")
	flags.StringSliceVar(&f.deny, "deny", nil, "users who may not, whatever else allows it")
	flags.StringSliceVar(&f.hosts, "host", []string{"*"}, "addresses of clients; * is all")
	flags.StringSliceVar(&f.operations, "operation", nil, "read, write, create, delete, alter, describe, describe-configs, alter-configs, all …")
}

// entries are the entries that the flags describe.
func (f aclFlags) entries() ([]client.ACL, error) {
	resources := f.resources()
	switch {
	case len(resources) == 0:
		return nil, usage("add --topic, --group, --transactional-id or --cluster", "no resource is named")
	case len(f.allow)+len(f.deny) == 0:
		return nil, usage("add --allow USER or --deny USER", "no user is named")
	case len(f.operations) == 0:
		return nil, usage("add --operation read, write, …", "no operation is named")
	}
	var all []client.ACL
	for _, e := range resources {
		for _, e.Host = range f.hosts {
			for _, e.Operation = range f.operations {
				all = append(all, permitted(e, "allow", f.allow)...)
				all = append(all, permitted(e, "deny", f.deny)...)
			}
		}
	}
	return all, nil
}

// permitted is e for each of the users.
func permitted(e client.ACL, permission string, users []string) []client.ACL {
	var all []client.ACL
	for _, user := range users {
		e.Principal, e.Permission = user, permission
		if !strings.Contains(user, ":") {
			e.Principal = "User:" + user
		}
		all = append(all, e)
	}
	return all
}

// resources are entries that have their resources only.
func (f aclFlags) resources() []client.ACL {
	var all []client.ACL
	add := func(kind string, names []string) {
		for _, name := range names {
			all = append(all, client.ACL{Resource: kind, Name: name, Prefixed: f.prefixed})
		}
	}
	add("topic", f.topics)
	add("group", f.groups)
	add("transactional-id", f.transactionalIDs)
	if f.wholeCluster {
		all = append(all, client.ACL{Resource: "cluster", Name: "kafka-cluster"})
	}
	return all
}

func (a *app) aclsList() *cobra.Command {
	var (
		at   cluster
		out  output
		like client.ACL
		user string
	)
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List entries",
		Long:    "List who may, or may not, do what to which resource. Where two entries disagree, the\ndenial wins; what no entry allows is denied.",
		Example: "  millrace acls list --command-config admin.properties\n  millrace acls list --user ana --command-config admin.properties",
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if user != "" {
				like.Principal = "User:" + strings.TrimPrefix(user, "User:")
			}
			return at.administer(cmd.Context(), func(admin *client.Admin) error {
				entries, err := admin.ACLs(cmd.Context(), like)
				if err != nil {
					return err
				}
				return a.print(out, []string{"RESOURCE", "NAME", "PATTERN", "PRINCIPAL", "HOST", "OPERATION", "PERMISSION"}, aclRows(entries))
			})
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "only entries of this user")
	cmd.Flags().StringVar(&like.Resource, "resource", "", "only entries about topic, group, cluster or transactional-id")
	at.register(cmd)
	out.register(cmd)
	return cmd
}

func aclRows(entries []client.ACL) []row {
	rows := make([]row, len(entries))
	for i, e := range entries {
		pattern := "literal"
		if e.Prefixed {
			pattern = "prefixed"
		}
		rows[i] = row{
			cells: []string{e.Resource, e.Name, pattern, e.Principal, e.Host, e.Operation, e.Permission},
			value: struct {
				Resource   string `json:"resource"`
				Name       string `json:"name"`
				Pattern    string `json:"pattern"`
				Principal  string `json:"principal"`
				Host       string `json:"host"`
				Operation  string `json:"operation"`
				Permission string `json:"permission"`
			}{e.Resource, e.Name, pattern, e.Principal, e.Host, e.Operation, e.Permission},
		}
	}
	return rows
}

func (a *app) aclsAdd() *cobra.Command {
	var (
		at cluster
		f  aclFlags
	)
	cmd := &cobra.Command{
		Use:     "add --allow USER --operation OPERATION --topic TOPIC",
		Short:   "Add entries",
		Long:    "Add one entry for each resource, user, host and operation that is named. An entry that is\nthere already stays as it is.",
		Example: "  millrace acls add --allow ana --operation read --topic click_events --group click_counter_group\n  millrace acls add --allow shop --operation write,create --topic shop- --prefixed\n  millrace acls add --deny User:* --operation all --topic secrets",
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			entries, err := f.entries()
			if err != nil {
				return err
			}
			return at.administer(cmd.Context(), func(admin *client.Admin) error {
				if err := admin.AddACLs(cmd.Context(), entries); err != nil {
					return err
				}
				a.say("entries added: %d", len(entries))
				return nil
			})
		},
	}
	f.register(cmd.Flags())
	at.register(cmd)
	return cmd
}

func (a *app) aclsDelete() *cobra.Command {
	var (
		at  cluster
		f   aclFlags
		yes bool
	)
	cmd := &cobra.Command{
		Use:     "delete --allow USER --operation OPERATION --topic TOPIC",
		Short:   "Delete entries",
		Long:    "Delete the entries that add makes from the same flags. Without --yes it says how many\nthere would be.",
		Example: "  millrace acls delete --allow ana --operation read --topic click_events --yes",
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			entries, err := f.entries()
			if err != nil {
				return err
			}
			if !yes {
				a.say("dry run: entries that would be deleted, if they are there: %d. Add --yes to delete them.", len(entries))
				return nil
			}
			return at.administer(cmd.Context(), func(admin *client.Admin) error {
				if err := admin.RemoveACLs(cmd.Context(), entries); err != nil {
					return err
				}
				a.say("entries deleted: %d", len(entries))
				return nil
			})
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().BoolVar(&yes, "yes", false, "really do it")
	at.register(cmd)
	return cmd
}
