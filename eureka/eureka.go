// Package eureka is a service registry that speaks the wire protocol of Netflix
// Eureka: the types of the protocol, a Server and a Client.
//
// The Server keeps leases in memory. It answers JSON and XML below /eureka and
// /eureka/v2 as the Netflix server does, so clients of Spring Cloud, fargo,
// eureka-js-client and Armeria work against it unchanged; it shows what it
// holds to people at /. The Client registers one instance, renews its lease and
// finds the instances of others.
//
// Peers make one registry of several Servers, which pass on what their clients
// tell them, also to and from nodes of the Netflix server. A Server does not
// fetch from remote regions. One that restarts alone is filled again by its
// clients, whose next heartbeat it answers with 404; with peers it copies what
// they know first. It differs from the Netflix server where that one is merely
// slow or blames itself: answers are never
// cached, so a registration is visible at once, and an unknown value in a
// status override is answered with 400 instead of 500.
//
// The protocol is described at
// https://github.com/Netflix/eureka/wiki/Eureka-REST-operations.
package eureka

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Status says whether an instance takes traffic.
type Status string

// The statuses of the protocol. Only instances that are StatusUp are to be called.
const (
	StatusUp           Status = "UP"
	StatusDown         Status = "DOWN"
	StatusStarting     Status = "STARTING"
	StatusOutOfService Status = "OUT_OF_SERVICE"
	StatusUnknown      Status = "UNKNOWN"
)

func (s Status) known() bool {
	switch s {
	case StatusUp, StatusDown, StatusStarting, StatusOutOfService, StatusUnknown:
		return true
	}
	return false
}

// UnmarshalText takes any text: what is no status of the protocol is
// StatusUnknown, as InstanceStatus.toEnum of the Netflix server has it.
func (s *Status) UnmarshalText(text []byte) error {
	*s = Status(strings.ToUpper(strings.TrimSpace(string(text))))
	if !s.known() {
		*s = StatusUnknown
	}
	return nil
}

// ActionType says what happened to an instance of a delta.
type ActionType string

// The actions of a delta. Added and modified instances are to be inserted or
// replaced, deleted ones removed.
const (
	ActionAdded    ActionType = "ADDED"
	ActionModified ActionType = "MODIFIED"
	ActionDeleted  ActionType = "DELETED"
)

// Millis is an instant in milliseconds since the epoch, which JSON carries as a
// string. Zero means that it is not known.
type Millis int64

func millis(t time.Time) Millis { return Millis(t.UnixMilli()) }

// Flag is "true" or "false" and travels as a string, or is empty when not known.
type Flag string

// Port is a port number and whether the instance listens on it.
type Port struct {
	Number  int  `xml:",chardata"`
	Enabled bool `xml:"enabled,attr"`
}

// Metadata is what an application says about its instances. A nil map is not
// written; an empty one is written in the form in which Java clients read it.
type Metadata map[string]string

// DataCenterInfo says where an instance runs. Java clients choose the type they
// read it into by Class and refuse instances without one.
type DataCenterInfo struct {
	Class    string   `json:"@class" xml:"class,attr"`
	Name     string   `json:"name" xml:"name"`
	Metadata Metadata `json:"metadata,omitempty" xml:"metadata,omitempty"`
}

// The classes of DataCenterInfo.
const (
	classMyOwn  = "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo"
	classAmazon = "com.netflix.appinfo.AmazonInfo"
)

// LeaseInfo is the lease of an instance: what it asks for when it registers,
// and what the server granted when it is read.
type LeaseInfo struct {
	RenewalIntervalInSecs int   `json:"renewalIntervalInSecs" xml:"renewalIntervalInSecs"`
	DurationInSecs        int   `json:"durationInSecs" xml:"durationInSecs"`
	RegistrationTimestamp int64 `json:"registrationTimestamp" xml:"registrationTimestamp"`
	LastRenewalTimestamp  int64 `json:"lastRenewalTimestamp" xml:"lastRenewalTimestamp"`
	EvictionTimestamp     int64 `json:"evictionTimestamp" xml:"evictionTimestamp"`
	ServiceUpTimestamp    int64 `json:"serviceUpTimestamp" xml:"serviceUpTimestamp"`
}

// Instance is one running copy of an application. The fields are in the order
// in which the Netflix server writes them.
type Instance struct {
	InstanceID                    string          `json:"instanceId,omitempty" xml:"instanceId,omitempty"`
	HostName                      string          `json:"hostName" xml:"hostName"`
	App                           string          `json:"app" xml:"app"`
	IPAddr                        string          `json:"ipAddr" xml:"ipAddr"`
	SID                           string          `json:"sid,omitempty" xml:"sid,omitempty"`
	Status                        Status          `json:"status" xml:"status"`
	OverriddenStatus              Status          `json:"overriddenStatus,omitempty" xml:"overriddenstatus,omitempty"`
	Port                          Port            `json:"port" xml:"port"`
	SecurePort                    Port            `json:"securePort" xml:"securePort"`
	CountryID                     int             `json:"countryId,omitempty" xml:"countryId,omitempty"`
	DataCenterInfo                *DataCenterInfo `json:"dataCenterInfo,omitempty" xml:"dataCenterInfo,omitempty"`
	LeaseInfo                     *LeaseInfo      `json:"leaseInfo,omitempty" xml:"leaseInfo,omitempty"`
	Metadata                      Metadata        `json:"metadata,omitzero" xml:"metadata"`
	AppGroupName                  string          `json:"appGroupName,omitempty" xml:"appGroupName,omitempty"`
	HomePageURL                   string          `json:"homePageUrl,omitempty" xml:"homePageUrl,omitempty"`
	StatusPageURL                 string          `json:"statusPageUrl,omitempty" xml:"statusPageUrl,omitempty"`
	HealthCheckURL                string          `json:"healthCheckUrl,omitempty" xml:"healthCheckUrl,omitempty"`
	SecureHealthCheckURL          string          `json:"secureHealthCheckUrl,omitempty" xml:"secureHealthCheckUrl,omitempty"`
	VIPAddress                    string          `json:"vipAddress,omitempty" xml:"vipAddress,omitempty"`
	SecureVIPAddress              string          `json:"secureVipAddress,omitempty" xml:"secureVipAddress,omitempty"`
	IsCoordinatingDiscoveryServer Flag            `json:"isCoordinatingDiscoveryServer,omitempty" xml:"isCoordinatingDiscoveryServer,omitempty"`
	LastUpdatedTimestamp          Millis          `json:"lastUpdatedTimestamp,omitempty" xml:"lastUpdatedTimestamp,omitempty"`
	LastDirtyTimestamp            Millis          `json:"lastDirtyTimestamp,omitempty" xml:"lastDirtyTimestamp,omitempty"`
	ActionType                    ActionType      `json:"actionType,omitempty" xml:"actionType,omitempty"`
	ASGName                       string          `json:"asgName,omitempty" xml:"asgName,omitempty"`
}

// Application is the instances registered under one name.
type Application struct {
	Name      string     `json:"name" xml:"name"`
	Instances []Instance `json:"instance" xml:"instance"`
}

// Applications is a registry, or the part of one that was asked for. Hash is
// that of the whole registry even in a delta, so that a client can tell whether
// what it has made of the deltas still agrees.
type Applications struct {
	Version      string        `json:"versions__delta" xml:"versions__delta"`
	Hash         string        `json:"apps__hashcode" xml:"apps__hashcode"`
	Applications []Application `json:"application" xml:"application"`
}

// newInstance has the values of what a client leaves out
// (com.netflix.discovery.converters.EurekaJacksonCodec).
func newInstance() Instance {
	return Instance{
		Status:           StatusUp,
		OverriddenStatus: StatusUnknown,
		Port:             Port{Number: 7001, Enabled: true},
		SecurePort:       Port{Number: 7002},
		CountryID:        1,
	}
}

// Addr is the host and port to call, as in "10.0.0.7:8300". The IP address comes
// first: a host name that only its own host can resolve is of no use to others.
func (in *Instance) Addr() string {
	host := cmp.Or(in.IPAddr, in.HostName)
	port := in.Port.Number
	if !in.Port.Enabled && in.SecurePort.Enabled {
		port = in.SecurePort.Number
	}
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}

// normalize gives a decoded instance the form in which it is kept: upper-case
// names, an id, no unset maps.
func (in *Instance) normalize() {
	in.App = strings.ToUpper(strings.TrimSpace(in.App))
	in.AppGroupName = strings.ToUpper(in.AppGroupName)
	if in.SID == "na" || in.SID == "unknown" {
		in.SID = ""
	}
	if in.Metadata == nil {
		in.Metadata = Metadata{}
	}
	if in.OverriddenStatus == "" {
		in.OverriddenStatus = StatusUnknown
	}
	if in.IsCoordinatingDiscoveryServer != "true" {
		in.IsCoordinatingDiscoveryServer = "false"
	}
	if in.LeaseInfo == nil {
		in.LeaseInfo = new(LeaseInfo)
	}
	if in.LeaseInfo.RenewalIntervalInSecs <= 0 {
		in.LeaseInfo.RenewalIntervalInSecs = 30
	}
	if in.LeaseInfo.DurationInSecs <= 0 {
		in.LeaseInfo.DurationInSecs = 90
	}
	if dc := in.DataCenterInfo; dc != nil && dc.Class == "" {
		dc.Class = classMyOwn
		if dc.Name == "Amazon" {
			dc.Class = classAmazon
		}
	}
	in.InstanceID = in.effectiveID()
	if dc := in.DataCenterInfo; dc != nil && dc.Name == "Amazon" && dc.Metadata["instance-id"] == "" {
		if dc.Metadata == nil {
			dc.Metadata = Metadata{}
		}
		dc.Metadata["instance-id"] = in.InstanceID
	}
}

// effectiveID is the identity of an instance that may not state one
// (InstanceInfo.getId, and CloudJacksonJson of Spring for the metadata).
func (in *Instance) effectiveID() string {
	if id := strings.TrimSpace(in.InstanceID); id != "" {
		return id
	}
	if id := in.Metadata["instanceId"]; id != "" {
		if strings.HasPrefix(id, in.HostName) {
			return id
		}
		return in.HostName + ":" + id
	}
	if in.DataCenterInfo != nil && in.DataCenterInfo.Metadata["instance-id"] != "" {
		return in.DataCenterInfo.Metadata["instance-id"]
	}
	return in.HostName
}

// compact is the instance with what finding it needs and no more
// (com.netflix.discovery.converters.jackson.mixin.MiniInstanceInfoMixIn).
func (in Instance) compact() Instance {
	in.AppGroupName, in.OverriddenStatus, in.SID, in.CountryID = "", "", "", 0
	in.HomePageURL, in.StatusPageURL, in.HealthCheckURL, in.SecureHealthCheckURL = "", "", "", ""
	in.IsCoordinatingDiscoveryServer, in.LastDirtyTimestamp = "", 0
	in.LeaseInfo, in.Metadata = nil, nil
	if in.DataCenterInfo != nil && len(in.DataCenterInfo.Metadata) > 0 {
		dc := *in.DataCenterInfo
		dc.Metadata = Metadata{}
		for _, key := range []string{"instance-id", "public-ipv4", "public-hostname", "local-ipv4", "availability-zone"} {
			if value, ok := in.DataCenterInfo.Metadata[key]; ok {
				dc.Metadata[key] = value
			}
		}
		in.DataCenterInfo = &dc
	}
	return in
}

// compact is the application with compact instances.
func (a Application) compact() Application {
	instances := make([]Instance, len(a.Instances))
	for i, in := range a.Instances {
		instances[i] = in.compact()
	}
	a.Instances = instances
	return a
}

// vips are the names in a vip address, which may be a list.
func vips(address string) []string {
	var names []string
	for name := range strings.SplitSeq(address, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// hashcode is what both ends of the protocol make of the same registry: the
// count of each status that occurs, in order of the statuses' names.
func hashcode(counts map[Status]int) string {
	var b strings.Builder
	for _, status := range slices.Sorted(maps.Keys(counts)) {
		b.WriteString(string(status) + "_" + strconv.Itoa(counts[status]) + "_")
	}
	return b.String()
}
