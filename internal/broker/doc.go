// Package broker answers the Kafka protocol on one node, over the logs of
// internal/log. One file per kind of request; connections, dispatch, the topic
// catalog and consumer groups beside them.
//
// Most readers need [Open] and [Broker.Serve].
package broker
