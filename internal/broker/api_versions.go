package broker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/wire"
)

// apiVersions tells what is served. From version 3 the client names itself, in
// a form that Kafka checks (KIP-511), and learns the features of the cluster.
func (b *Broker) apiVersions(_ *conn, req *kmsg.ApiVersionsRequest) reply {
	resp := wire.ApiVersionsResponse(req.Version)
	if req.Version >= 3 && !(wire.ValidSoftwareName(req.ClientSoftwareName) && wire.ValidSoftwareName(req.ClientSoftwareVersion)) {
		resp.ErrorCode = kerr.InvalidRequest.Code
		resp.ApiKeys = nil
		return answer(resp)
	}
	if req.Version >= 3 {
		addFeatures(resp)
	}
	return answer(resp)
}

// feature is a level of behaviour that all nodes of a cluster have agreed on.
type feature struct {
	name  string
	level int16
}

// finalizedFeatures are those in force. Clients switch to the second version of
// transactions when they see it here, and rely on all its parts then (KIP-890),
// so it is tied to one of them; a test of wire holds the parts together.
func finalizedFeatures() []feature {
	if wire.Supports(produceKey, firstImplicitTxnProduce) {
		return []feature{{"transaction.version", 2}}
	}
	return nil
}

// firstImplicitTxnProduce is the Produce version that adds a partition to its
// transaction by itself (KIP-890).
const firstImplicitTxnProduce = 12

// supportsFromZero is the first ApiVersions version whose clients understand that
// a feature is supported from level 0 on; older ones are not told (KIP-1022).
const supportsFromZero = 4

func addFeatures(resp *kmsg.ApiVersionsResponse) {
	for _, f := range finalizedFeatures() {
		resp.FinalizedFeaturesEpoch = 0 // the first and only agreement; without features -1
		if resp.Version >= supportsFromZero {
			supported := kmsg.NewApiVersionsResponseSupportedFeature()
			supported.Name, supported.MinVersion, supported.MaxVersion = f.name, 0, f.level
			resp.SupportedFeatures = append(resp.SupportedFeatures, supported)
		}
		finalized := kmsg.NewApiVersionsResponseFinalizedFeature()
		finalized.Name, finalized.MinVersionLevel, finalized.MaxVersionLevel = f.name, f.level, f.level
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, finalized)
	}
}
