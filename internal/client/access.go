package client

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// Right is one operation that ACLs allow or forbid.
type Right kmsg.ACLOperation

// The rights that a job may need.
const (
	RightRead   = Right(kmsg.ACLOperationRead)
	RightWrite  = Right(kmsg.ACLOperationWrite)
	RightDelete = Right(kmsg.ACLOperationDelete)
)

// Rights are what this client may do with one thing, as the cluster says.
type Rights struct{ bits int32 }

// AllRights are those of a client whom nobody restricts.
var AllRights = Rights{notSaid}

// notSaid is the cluster's answer where it does not tell rights.
const notSaid = -1 << 31

// May reports whether the right is there. A cluster that does not say allows
// everything: the request itself will tell.
func (r Rights) May(right Right) bool { return r.bits == notSaid || r.bits&(1<<right) != 0 }

// TopicAccess is a topic as this client is shown it.
type TopicAccess struct {
	Hidden   bool // the client may not even know whether it exists
	Exists   bool
	Replicas int // of the partition that has the fewest
	InSync   int // of the partition that has the fewest
	Rights   Rights
}

// TopicAccess tells for each topic, internal ones too, what this client may do.
func (a *Admin) TopicAccess(ctx context.Context, topics ...record.Topic) (map[record.Topic]TopicAccess, error) {
	request := askFor(topics)
	request.AllowAutoTopicCreation, request.IncludeTopicAuthorizedOperations = false, true
	answer, err := request.RequestWith(ctx, a.raw)
	if err != nil {
		return nil, a.wrap("ask for rights on topics", err, "")
	}
	all := make(map[record.Topic]TopicAccess, len(topics))
	for _, t := range answer.Topics {
		if t.Topic == nil {
			continue
		}
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case isAny(err, kerr.TopicAuthorizationFailed):
			all[record.Topic(*t.Topic)] = TopicAccess{Hidden: true}
		case isAny(err, kerr.UnknownTopicOrPartition):
			all[record.Topic(*t.Topic)] = TopicAccess{Rights: AllRights}
		case err != nil && !kerr.IsRetriable(err):
			return nil, a.wrap("ask for rights on topic "+*t.Topic, err, "")
		default:
			all[record.Topic(*t.Topic)] = accessOf(t)
		}
	}
	return all, nil
}

func accessOf(t kmsg.MetadataResponseTopic) TopicAccess {
	access := TopicAccess{Exists: true, Rights: Rights{t.AuthorizedOperations}}
	for i, p := range t.Partitions {
		if i == 0 || len(p.Replicas) < access.Replicas {
			access.Replicas = len(p.Replicas)
		}
		if i == 0 || len(p.ISR) < access.InSync {
			access.InSync = len(p.ISR)
		}
	}
	return access
}

// ClusterAccess is what a job needs to know of the cluster as a whole.
type ClusterAccess struct {
	Brokers int  // alive; 0 when the cluster does not say
	ACLs    bool // may restrict this client
	// Settings are those of one broker; nil when this client may not see them.
	Settings map[string]string
}

// ClusterAccess asks for it.
func (a *Admin) ClusterAccess(ctx context.Context) (ClusterAccess, error) {
	var access ClusterAccess
	request := kmsg.NewPtrDescribeClusterRequest()
	answer, err := request.RequestWith(ctx, a.raw)
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	if err != nil {
		if errors.Is(translate(err, nil), ErrUnreachable) || ctx.Err() != nil {
			return access, a.wrap("describe the cluster", err, "")
		}
		return ClusterAccess{ACLs: true}, nil // Kafka before 2.8
	}
	access.Brokers = len(answer.Brokers)
	entries, err := a.ACLs(ctx, ACL{})
	none := err == nil && len(entries) == 0 // and who may see that may do everything
	access.ACLs = !none && !isAny(err, kerr.SecurityDisabled)
	for _, b := range answer.Brokers {
		described, err := a.client.DescribeBrokerConfigs(ctx, b.NodeID)
		if err == nil && len(described) == 1 && described[0].Err == nil {
			access.Settings = settingsOf(described[0])
			break
		}
	}
	return access, nil
}

func settingsOf(r kadm.ResourceConfig) map[string]string {
	settings := make(map[string]string, len(r.Configs))
	for _, c := range r.Configs {
		settings[c.Key] = c.MaybeValue()
	}
	return settings
}

// TopicSettings are those of topics; one whose settings this client may not see,
// or that does not exist, is not in the answer.
func (a *Admin) TopicSettings(ctx context.Context, topics ...record.Topic) (map[record.Topic]map[string]string, error) {
	all := make(map[record.Topic]map[string]string)
	if len(topics) == 0 {
		return all, nil
	}
	described, err := a.client.DescribeTopicConfigs(ctx, topicNames(topics)...)
	if err != nil {
		if err = translate(err, a.brokers); errors.Is(err, ErrForbidden) {
			return all, nil
		}
		return nil, a.wrap("describe topic settings", err, "")
	}
	for _, r := range described {
		if r.Err == nil {
			all[record.Topic(r.Name)] = settingsOf(r)
		}
	}
	return all, nil
}

// CheckCreate asks whether t could be created, and creates nothing. Errors are
// those of [Admin.CreateTopic].
func (a *Admin) CheckCreate(ctx context.Context, t TopicSpec) error {
	partitions, replicas, settings := t.forKafka()
	responses, err := a.client.ValidateCreateTopics(ctx, partitions, replicas, settings, string(t.Name))
	if err != nil {
		return a.wrap("create topic", err, "")
	}
	r := responses[string(t.Name)]
	return a.wrap("create topic "+string(t.Name), r.Err, r.ErrMessage)
}

// MayJoin reports [ErrForbidden] when this client may not be a member of the
// group. It sends a heartbeat for a member that does not exist, which changes
// nothing.
func (a *Admin) MayJoin(ctx context.Context, group string) error {
	request := kmsg.NewPtrHeartbeatRequest()
	request.Group, request.MemberID = group, "nobody"
	answer, err := request.RequestWith(ctx, a.raw)
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	return a.onlyForbidden("join group "+group, err)
}

// MayTransact reports [ErrForbidden] when this client may not use the
// transactional id. It ends a transaction of a producer that does not exist,
// which changes nothing.
func (a *Admin) MayTransact(ctx context.Context, id string) error {
	request := kmsg.NewPtrEndTxnRequest()
	request.TransactionalID, request.ProducerID, request.ProducerEpoch = id, -1, -1
	answer, err := request.RequestWith(ctx, a.raw)
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	return a.onlyForbidden("use transactional id "+id, err)
}

// onlyForbidden drops every other error: the answer to a request about nobody.
func (a *Admin) onlyForbidden(doing string, err error) error {
	if err = a.wrap(doing, err, ""); errors.Is(err, ErrForbidden) {
		return err
	}
	return nil
}
