package broker

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/wire"
)

// Bounds of one DescribeConfigs: resources beyond are refused one by one, and
// each takes so much memory, documentation included.
const (
	describedResources = 1000
	describedBytes     = 24 << 10
)

// describeConfigs shows the settings of topics and of this broker.
func (b *Broker) describeConfigs(c *conn, req *kmsg.DescribeConfigsRequest) reply {
	return b.largeAnswer(describedBytes*int64(min(len(req.Resources), describedResources)), func() wire.Response {
		resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for i, resource := range req.Resources {
			r := kmsg.NewDescribeConfigsResponseResource()
			r.ResourceType, r.ResourceName = resource.ResourceType, resource.ResourceName
			err := refused(kerr.InvalidRequest, fmt.Sprintf("a request may name %d resources: ask for the others in the next one", describedResources))
			if i < describedResources {
				r.Configs, err = b.describe(c, req, resource)
			}
			r.ErrorCode, r.ErrorMessage = codeOf(err), textOf(err)
			resp.Resources = append(resp.Resources, r)
		}
		return resp
	})
}

// describe is what the client wants to see of one resource.
func (b *Broker) describe(c *conn, req *kmsg.DescribeConfigsRequest, resource kmsg.DescribeConfigsRequestResource) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	configs, err := b.configsOf(c, resource)
	if resource.ConfigNames != nil {
		configs = slices.DeleteFunc(configs, func(config kmsg.DescribeConfigsResponseResourceConfig) bool {
			return !slices.Contains(resource.ConfigNames, config.Name)
		})
	}
	for i := range configs {
		if !req.IncludeSynonyms {
			configs[i].ConfigSynonyms = nil
		}
		if !req.IncludeDocumentation {
			configs[i].Documentation = nil
		}
	}
	return configs, err
}

func (b *Broker) configsOf(c *conn, resource kmsg.DescribeConfigsRequestResource) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	switch resource.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		t := b.catalog.topics.named(resource.ResourceName)
		if t == nil {
			return nil, fmt.Errorf("%w: %s", errTopicUnknown, resource.ResourceName)
		}
		return t.describeSettings(), nil
	case kmsg.ConfigResourceTypeBroker:
		if resource.ResourceName == "" { // defaults for all brokers of a cluster: none are set
			return nil, nil
		}
		if resource.ResourceName != strconv.Itoa(int(b.cfg.NodeID)) {
			return nil, refused(kerr.InvalidRequest, fmt.Sprintf("there is no broker %q: the only one is %d", resource.ResourceName, b.cfg.NodeID))
		}
		return b.describeBroker(c), nil
	}
	return nil, refused(kerr.InvalidRequest, fmt.Sprintf("configs of resource type %s are not kept: ask for a topic or for the broker", resource.ResourceType))
}

func (t *topic) describeSettings() []kmsg.DescribeConfigsResponseResourceConfig {
	configs := make([]kmsg.DescribeConfigsResponseResourceConfig, 0, len(topicSettings))
	for i := range topicSettings {
		s := &topicSettings[i]
		value, source := s.effective(t.settings())
		config := kmsg.DescribeConfigsResponseResourceConfig{
			Name: s.name, Value: &value, Source: source, ConfigType: s.kind, Documentation: &s.doc,
			IsDefault: source == kmsg.ConfigSourceDefaultConfig,
		}
		if source == kmsg.ConfigSourceDynamicTopicConfig {
			config.ConfigSynonyms = append(config.ConfigSynonyms, synonym(s.name, value, source))
		}
		if s.synonym != "" {
			config.ConfigSynonyms = append(config.ConfigSynonyms, synonym(s.synonym, s.fallback, kmsg.ConfigSourceDefaultConfig))
		}
		configs = append(configs, config)
	}
	return configs
}

func synonym(name, value string, source kmsg.ConfigSource) kmsg.DescribeConfigsResponseResourceConfigConfigSynonym {
	return kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{Name: name, Value: &value, Source: source}
}
