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
	}
	return answer(resp)
}
