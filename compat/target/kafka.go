package target

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"millrace/compat/foreign"
)

// kafkaHeap is what Kafka's own start script gives a broker.
const kafkaHeap = "-Xmx1g"

// prepareKafka writes the configuration of a one-node cluster and formats its
// directory. Only what one node needs differs from Kafka's defaults, and two
// things that Millrace has as defaults: 4 partitions, and no wait before the
// first rebalance (3 s in Kafka), which is a setting and not a behaviour.
func (b *Broker) prepareKafka() error {
	controller, err := FreeAddr()
	if err != nil {
		return err
	}
	properties := []string{
		"process.roles=broker,controller",
		"node.id=1",
		"controller.quorum.voters=1@" + controller,
		"listeners=PLAINTEXT://" + b.Addr + ",CONTROLLER://" + controller,
		"advertised.listeners=PLAINTEXT://" + b.Addr,
		"controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs=" + b.DataDir,
		"num.partitions=4",
		"offsets.topic.num.partitions=4",
		"offsets.topic.replication.factor=1",
		"transaction.state.log.num.partitions=4",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1",
		"group.initial.rebalance.delay.ms=0",
	}
	var users []string
	if b.options.Secured {
		internal, err := FreeAddr()
		if err != nil {
			return err
		}
		// Of a property that stands twice the last one counts.
		properties, users = append(properties, b.kafkaSecurity(controller, internal)...), kafkaUsers()
	}
	properties = append(properties, b.options.Properties...)
	if err := os.WriteFile(b.propertiesPath(), []byte(strings.Join(properties, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(b.DataDir, "meta.properties")); err == nil {
		return nil
	}
	java, jars, err := foreign.Kafka()
	if err != nil {
		return err
	}
	format := exec.Command(java, append([]string{"-cp", jars, "kafka.tools.StorageTool",
		"format", "-t", "MillraceCompatSuite001", "-c", b.propertiesPath()}, users...)...)
	if out, err := format.CombinedOutput(); err != nil {
		return fmt.Errorf("format Kafka's directory: %w\n%s", err, out)
	}
	return nil
}

func (b *Broker) propertiesPath() string { return filepath.Join(b.Dir, "server.properties") }

func (b *Broker) kafkaArgv() []string {
	java, jars, err := foreign.Kafka()
	if err != nil {
		java = "java" // prepareKafka has already failed on this
	}
	return []string{java, kafkaHeap, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", jars, "kafka.Kafka", b.propertiesPath()}
}

// awaitListener returns when the broker has accepted a connection: KRaft opens
// the listener only after it has caught up.
func (b *Broker) awaitListener(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		conn, err := net.DialTimeout("tcp", b.Addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-b.exited:
			return errors.New("it ended: " + b.cmd.ProcessState.String())
		case <-ctx.Done():
			return fmt.Errorf("nothing listens on %s after %s: %w", b.Addr, readyWithin, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
