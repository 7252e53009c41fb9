package group

import "errors"

// The decisions that a group takes about a request. The broker gives each its
// Kafka error code.
var (
	// ErrUnknownMember means that the member is not of this group (any more):
	// it must join again without a member id.
	ErrUnknownMember = errors.New("group: unknown member id")
	// ErrFenced means that a newer process joined under the same instance id:
	// this one must stop for good.
	ErrFenced = errors.New("group: another member joined with this instance id")
	// ErrGeneration means that the request is of another generation than the group.
	ErrGeneration = errors.New("group: the generation has passed")
	// ErrRebalancing means that the member must join again.
	ErrRebalancing = errors.New("group: a rebalance is in progress")
	// ErrInconsistentProtocol means that the member shares no protocol with the
	// others, or named another one than the group has chosen.
	ErrInconsistentProtocol = errors.New("group: no protocol in common with the group")
	// ErrMemberIDRequired means that the member must join again under the id
	// that the answer carries (KIP-394).
	ErrMemberIDRequired = errors.New("group: join again with the given member id")
	// ErrGroupFull means that [Config.MaxSize] or [Config.MaxBytes] is reached.
	ErrGroupFull = errors.New("group: the group has reached its maximum size")
	// ErrSessionTimeout means that the session timeout is out of bounds.
	ErrSessionTimeout = errors.New("group: the session timeout is out of bounds")
	// ErrTooLarge means that the leader's assignment does not fit into a record.
	ErrTooLarge = errors.New("group: the assignment is too large to store")
	// ErrDead means that the group has just been deleted: look it up again.
	ErrDead = errors.New("group: deleted")
	// ErrNotEmpty means that the group has members.
	ErrNotEmpty = errors.New("group: the group is not empty")
	// ErrSubscribed means that a member reads the topic whose offset was to be deleted.
	ErrSubscribed = errors.New("group: a member is subscribed to the topic")
	// ErrOffsetMetadataTooLarge means that [Config.MaxOffsetMetadata] is exceeded.
	ErrOffsetMetadataTooLarge = errors.New("group: the offset metadata is too large")
)
