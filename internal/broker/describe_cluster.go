package broker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// brokersEndpoint asks DescribeCluster for brokers; 2 would be controllers.
const brokersEndpoint = 1

// describeCluster names the one node, by the address of this client's connection (W4).
func (b *Broker) describeCluster(c *conn, req *kmsg.DescribeClusterRequest) reply {
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.ClusterAuthorizedOperations = notAsked
	resp.EndpointType = brokersEndpoint
	if req.Version >= 1 && req.EndpointType != brokersEndpoint {
		resp.ErrorCode = kerr.MismatchedEndpointType.Code
		resp.ErrorMessage = kmsg.StringPtr("this listener is a broker's: ask for endpoint type 1")
		return answer(resp)
	}
	resp.ClusterID, resp.ControllerID = b.ClusterID(), b.cfg.NodeID
	node := kmsg.NewDescribeClusterResponseBroker()
	node.NodeID = b.cfg.NodeID
	node.Host, node.Port = c.advertised()
	resp.Brokers = append(resp.Brokers, node)
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = allOperations(clusterOperations)
	}
	return answer(resp)
}
