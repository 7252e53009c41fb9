package broker

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"millrace/internal/group"
)

// groupCodes says in Kafka's terms what a group decides.
var groupCodes = []kafkaCode{
	{group.ErrUnknownMember, kerr.UnknownMemberID},
	{group.ErrFenced, kerr.FencedInstanceID},
	{group.ErrGeneration, kerr.IllegalGeneration},
	{group.ErrRebalancing, kerr.RebalanceInProgress},
	{group.ErrInconsistentProtocol, kerr.InconsistentGroupProtocol},
	{group.ErrMemberIDRequired, kerr.MemberIDRequired},
	{group.ErrGroupFull, kerr.GroupMaxSizeReached},
	{group.ErrSessionTimeout, kerr.InvalidSessionTimeout},
	{group.ErrTooLarge, kerr.UnknownServerError}, // as Kafka answers for a group that exceeds a record
	{group.ErrDead, kerr.CoordinatorNotAvailable},
	{group.ErrNotEmpty, kerr.NonEmptyGroup},
	{group.ErrSubscribed, kerr.GroupSubscribedToTopic},
	{group.ErrOffsetMetadataTooLarge, kerr.OffsetMetadataTooLarge},
}

// groupCodeOf is the Kafka error code of what a group request ended with. What
// the disk did is COORDINATOR_NOT_AVAILABLE: clients look the coordinator up and
// try again.
func groupCodeOf(err error) int16 {
	if err == nil {
		return 0
	}
	var r *refusal
	if errors.As(err, &r) {
		return r.code.Code
	}
	for _, known := range groupCodes {
		if errors.Is(err, known.err) {
			return known.code.Code
		}
	}
	return kerr.CoordinatorNotAvailable.Code
}
