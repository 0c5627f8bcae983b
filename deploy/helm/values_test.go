package helm_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestNothingIsNull: Helm takes a value away that somebody sets to null, and templates would go on without it, so each is refused by its name.
func TestNothingIsNull(t *testing.T) {
	t.Parallel()
	for _, chart := range []string{chartFolder, "issuers"} {
		text, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var values map[string]any
		if err := yaml.Unmarshal(text, &values); err != nil {
			t.Fatal(err)
		}
		paths := pathsOf(nil, values)
		if len(paths) < 10 {
			t.Fatalf("%s has the values %v", chart, paths)
		}
		for _, path := range paths {
			if path[0] == "services" && len(path) > 2 && !slices.Contains([]string{"port", "context", "tier", "database", "needs"}, path[2]) {
				continue // what stands there instead of a default
			}
			name := strings.Join(path, ".")
			if path[len(path)-1] == "ephemeral-storage" && path[0] != "defaults" {
				continue // which a server need not say
			}
			_, err := render(t, chart, variant{values: nested(path, "null")})
			if err == nil || !strings.Contains(err.Error(), path[len(path)-1]) {
				t.Errorf("%s: %s: null gives %v, want an error that names it", chart, name, err)
			}
		}
	}
}

// pathsOf are the ways to all values in a map, those to maps too.
func pathsOf(path []string, values map[string]any) [][]string {
	var paths [][]string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		here := append(slices.Clone(path), key)
		paths = append(paths, here)
		if members, ok := values[key].(map[string]any); ok {
			paths = append(paths, pathsOf(here, members)...)
		}
	}
	return paths
}

// nested is YAML with one value at the end of a path.
func nested(path []string, value string) string {
	return "{" + strings.Join(path, ": {") + ": " + value + strings.Repeat("}", len(path))
}

// TestValuesAreRefused: a value that cannot be what is meant stops the installation by its name, and tells what is wanted.
func TestValuesAreRefused(t *testing.T) {
	t.Parallel()
	external := func(values string) string {
		return "database: {mode: external, existingSecret: x, external: {" + values + "}}"
	}
	component := func(name string) string {
		return "services: {" + name + ": {port: 8950, context: /review-service, database: true}}"
	}
	for _, test := range []struct{ name, values, want string }{
		{"orders on a disk that goes", "services: {order-service: {database: false}}", "'/services/order-service/database': value must be true"},
		{"schemas for who stores nothing", "services: {api-gateway: {database: true}}", "'/services/api-gateway/database': value must be false"},
		{"the gateway among the services", "services: {api-gateway: {tier: business}}", "'/services/api-gateway/tier': value must be 'edge'"},
		{"a service at the edge", "services: {order-service: {tier: edge}}", "'/services/order-service/tier': value must be 'business'"},
		{"another path", "services: {order-service: {context: /orders}}", "'/services/order-service/context': value must be '/order-service'"},
		{"a port that nobody listens on", "services: {order-service: {port: 80}}", "'/services/order-service/port': value must be 8300"},
		{"fewer needs", "services: {product-service: {needs: [user-service]}}", "value must be 'proxy-client'"},
		{"a component without a port", "services: {review-service: {context: /review-service}}", "'/services/review-service': missing property 'port'"},
		{"a service without a path", "services: {review-service: {port: 8950}}", "services.review-service has no context"},
		{"the path of another", "services: {review-service: {port: 8950, context: /order-service}}", "services.review-service.context is /order-service, and so is the path of order-service"},
		{"the path of the documents", "services: {review-service: {port: 8950, context: /swagger-ui}}", "so is the path of the documents"},
		{"every path", "services: {review-service: {port: 8950, context: /}}", `services.review-service.context has "/"`},
		{"a capital in a name", component("Mailer"), `services has "Mailer": it must be a name in lower case`},
		{"an underscore in a name", component("my_mailer"), `services has "my_mailer"`},
		{"a figure before a name", component("2mail"), `services has "2mail"`},
		{"a name for no label", component(strings.Repeat("a", 64)), "of at most 63 letters"},
		{"a name for no account", component("a-name-that-is-quite-longer"), "MySQL takes 32"},
		{"a schema of another", component("order"), "services.order-service would store in the schema tienda_order, as order does"},
		{"the account of backups", component("backup-service"), "in the schema tienda_backup, as the account of backups does"},

		{"a baseline for the cluster's own", "{baseline: {create: true}, entry: {namespace: kube-system}}", "every pod of kube-system, which is entry.namespace"},
		{"a baseline for everybody", "{baseline: {create: true}, monitoring: {namespace: default}}", "every pod of default, which is monitoring.namespace"},
		{"a baseline for public data", "{baseline: {create: true}, monitoring: {namespace: kube-public}}", "monitoring.namespace"},
		{"a baseline for leases", "{baseline: {create: true}, monitoring: {namespace: kube-node-lease}}", "monitoring.namespace"},
		{"no namespace", "monitoring: {namespace: ''}", "monitoring/namespace"},

		{"a host with a scheme", "entry: {host: 'https://shop.example.com'}", `entry.host has "https://shop.example.com": it must be the name alone`},
		{"a host with a port", "entry: {host: 'shop.example.com:8443'}", "entry.host"},
		{"a host with a path", "entry: {host: shop.example.com/shop}", "entry.host"},
		{"a host with a blank", "entry: {host: shop example}", "entry.host"},
		{"a host with capitals", "entry: {host: Shop.example.com}", "in lower case"},
		{"any host", "entry: {host: '*.example.com'}", "entry.host"},
		{"an address for a host", "entry: {host: 10.0.0.1}", "entry.host"},

		{"a server that is not asked", "database: {external: {host: db}}", "database.external.host is db, and database.mode is mysql"},
		{"an authority that nobody looks at", "database: {mode: percona, external: {caSecret: x}}", "database.external.caSecret is x, and database.mode is percona"},
		{"a server with its port", external("host: 'db:3306'"), "its port is database.external.port"},
		{"a server by IPv6", external("host: 'fd00::1'"), "or its IPv4 address"},
		{"a server by URL", external("host: 'mysql://db'"), "database.external.host"},
		{"a pool larger than its memory", "database: {mysql: {bufferPool: 600M}}", "database.mysql.bufferPool is 600M of 600Mi"},
		{"a pool that leaves too little", "database: {mysql: {bufferPool: 451M}}", "Make it 450M at most"},
		{"no pool", "database: {mysql: {bufferPool: 0M}}", "bufferPool"},
		{"a pool that is no size", "database: {mysql: {bufferPool: lots}}", "bufferPool"},
		{"a limit below a request", "defaults: {resources: {limits: {memory: 20Mi}}}", "asks for 24Mi of memory and may use 20Mi"},
		{"a request above a limit", "services: {user-service: {resources: {requests: {memory: 1Gi}}}}", "services.user-service.resources"},
		{"a request of disk above a limit", "services: {user-service: {resources: {requests: {ephemeral-storage: 1Ti}}}}", "1Ti of ephemeral-storage"},
		{"a database's limit below its request", "database: {mysql: {resources: {limits: {memory: 300Mi}}}}", "database.mysql.resources asks for 400Mi"},
		{"processor time above a limit", "database: {percona: {resources: {limits: {cpu: 0.2}}}}", "asks for 500m of cpu and may use 0.2"},
		{"a scratch disk below a request", "backup: {shipping: {spool: 32Mi}}", "with backup.shipping.spool"},
		{"no memory", "defaults: {resources: {limits: {memory: 0Mi}}}", "limits/memory"},
		{"memory of no size", "database: {mysql: {resources: {limits: {memory: lots}}}}", "limits/memory"},
		{"processor time of no size", "defaults: {resources: {requests: {cpu: some}}}", "requests/cpu"},
		{"no processor time", "database: {mysql: {resources: {requests: {cpu: 0}}}}", "requests/cpu"},
		{"autoscaling for nothing", "defaults: {autoscaling: {cpu: half}}", "autoscaling/cpu"},
		{"autoscaling by no memory", "defaults: {autoscaling: {memory: much}}", "autoscaling/memory"},
		{"no volume", "database: {mysql: {storage: {size: 0Gi}}}", "storage/size"},

		{"keys of no bucket", "backup: {existingSecret: bucket}", "backup.existingSecret is bucket and backup.bucket is empty"},
		{"recipients of nothing", "backup: {recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]}", "nothing would be backed up"},
		{"a bucket at no port", strings.Replace(backups, "digitaloceanspaces.com/", "digitaloceanspaces.com:70000/", 1), "its port must be one from 1 to 65535"},
		{"networks that are nothing", "backup: {cidrs: ['']}", `backup.cidrs has ""`},
		{"an address for a network", "database: {external: {cidrs: [10.20.0.0]}}", `database.external.cidrs has "10.20.0.0": it must be a network such as 10.20.0.0/16`},
		{"a network of no size", "entry: {trustedProxies: [10.0.0.0/33]}", "entry.trustedProxies"},
		{"a network of no address", "entry: {trustedProxies: [10.0.0.256/8]}", "entry.trustedProxies"},
		{"an address of no machine", "test: {address: 10.0.0.300}", "test.address"},
		{"some time", "backup: {schedule: nightly}", "backup.schedule"},
		{"a minute too many", "backup: {restoreTest: {schedule: '60 1 * * *'}}", "backup.restoreTest.schedule"},
		{"a field less", "database: {mysql: {snapshots: {schedule: '0 1 * *'}}}", "five fields as cron writes them"},

		{"a profile in capitals", "{shop: {profiles: [Production], demo: true}}", `shop.profiles has "Production": it must be a word in lower case`},
		{"two profiles in one", "{shop: {profiles: ['production,stage'], demo: true}}", "shop.profiles"},
		{"a blank before a profile", "{shop: {profiles: [' production'], demo: true}}", "shop.profiles"},
		{"settings in a folder", "shop: {settings: {a/b.yml: ''}}", `shop.settings has "a/b.yml"`},
		{"a tag in the name of an image", "image: {repository: 'tienda:1.0'}", "the name of an image without its tag"},
		{"a tag that is none", "image: {tag: 'a b'}", "image/tag"},
		{"a class above the system's", "priorityClasses: {normal: 1000000001}", "priorityClasses/normal"},
		{"a body of no size", "entry: {maxBodySize: 4 megabytes}", "maxBodySize"},
		{"no label of name servers", "networkPolicy: {dns: {app: ''}}", "dns/app"},
		{"pods without end", "defaults: {replicas: {max: 99999999999}}", "replicas/max"},
		{"a window that no autoscaler has", "defaults: {autoscaling: {scaleDownSeconds: 3601}}", "scaleDownSeconds"},
		{"patience without end", "database: {patienceSeconds: 99999999999}", "patienceSeconds"},
		{"an administrator with a blank", "database: {external: {adminUser: do admin}}", "adminUser"},
		{"an operator's image without a version", "database: {percona: {image: percona/percona-server}}", "percona/image"},
		{"a version that is none", "database: {percona: {crVersion: latest}}", "crVersion"},
		{"a region with a blank", "backup: {region: new york}", "backup/region"},
		{"no class for the database", "priorityClasses: {database: ''}", "priorityClasses/database"},
		{"a secret that cannot be", "database: {existingSecret: My Secret}", "existingSecret"},

		{"an annotation of the entry twice", "entry: {annotations: {nginx.org/hsts: 'false'}}", "entry.annotations has nginx.org/hsts, which the chart sets to true"},
		{"an annotation of pods twice", "defaults: {podAnnotations: {checksum/settings: x}}", "podAnnotations has checksum/settings"},
		{"an annotation of the mesh twice", "{mesh: {enabled: true}, services: {user-service: {podAnnotations: {linkerd.io/inject: disabled}}}}", "services.user-service.podAnnotations has linkerd.io/inject"},
		{"an annotation that is none", "entry: {annotations: {a/b/c: x}}", `entry.annotations has "a/b/c"`},
		{"a variable that is none", "defaults: {env: {'A B': x}}", `it must be the name of a variable`},
		{"a variable with an underscore for a hyphen", "defaults: {env: {EUREKA_CLIENT_SERVICE_URL_DEFAULTZONE: x}}", "EUREKA_CLIENT_SERVICE_URL_DEFAULTZONE is among the env of api-gateway"},
		{"a variable in small letters", "defaults: {env: {tienda_demo: 'true'}}", "tienda_demo is among the env"},
		{"another port", "services: {user-service: {env: {SERVER_PORT: '1'}}}", "SERVER_PORT is among the env of user-service"},
		{"another's key", "services: {user-service: {env: {TIENDA_IDENTITY_TRUSTED_API_GATEWAY: x}}}", "TIENDA_IDENTITY_TRUSTED_API_GATEWAY is among the env"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := render(t, chartFolder, variant{values: test.values})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("render(%s) = %v, want an error with %q", test.values, err, test.want)
			}
		})
	}
	for _, namespace := range []string{"default", "kube-system"} {
		_, err := render(t, chartFolder, variant{values: "baseline: {create: true}", namespace: namespace})
		if want := "every pod of " + namespace + ", which is the namespace of the release"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a baseline in the namespace %s: %v, want an error with %q", namespace, err, want)
		}
	}
}

// TestOddValuesAreTaken: what looks odd and can be meant.
func TestOddValuesAreTaken(t *testing.T) {
	t.Parallel()
	for name, values := range map[string]string{
		"a registry with a port":             "image: {repository: 'registry.example.com:5000/a/b_c', tag: v1.0-rc.1_2}",
		"another server's name":              "database: {mode: external, existingSecret: x, external: {host: DB-1.example.com, cidrs: [10.0.0.1/32, 'fd00:a::/48', '::/0']}}",
		"another server's address":           "database: {mode: external, existingSecret: x, external: {host: 10.0.0.7}}",
		"proxies by address":                 "entry: {trustedProxies: [10.0.0.7, 'fd00::1', 'fd00::/8']}",
		"schedules":                          "{backup: {schedule: '*/5 0-6,22 1,15 JAN-mar mon-FRI', restoreTest: {schedule: '@daily'}}}",
		"more infrastructure":                "services: {zipkin: {replicas: {min: 4}}}",
		"whole processors":                   "{defaults: {autoscaling: {cpu: 1}}, database: {mysql: {resources: {requests: {cpu: 0.5}, limits: {cpu: '1.5'}}}}}",
		"three quarters":                     "database: {mysql: {bufferPool: 450M}}",
		"much memory":                        "database: {mysql: {bufferPool: 3072M, resources: {limits: {memory: 4Gi}}}}",
		"a component behind nothing":         "services: {mailer: {port: 8950, tier: infrastructure}}",
		"one more that the gateway leads to": "services: {review-service: {port: 8950, context: /review/v1}, api-gateway: {needs: [user-service, product-service, order-service, payment-service, shipping-service, favourite-service, proxy-client, review-service]}}",
		"no entry and no name":               "entry: {kind: none, host: ''}",
		"annotations":                        "{entry: {annotations: {a: b, c.example/d-e_f.g: ''}}, defaults: {podAnnotations: {linkerd.io/inject: disabled}}}",
		"a bucket with a port":               strings.Replace(backups, "digitaloceanspaces.com/", "digitaloceanspaces.com:9000/", 1),
		"a namespace of the cluster's own":   "{entry: {namespace: kube-system}, monitoring: {namespace: default}}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, object := range installed(t, variant{name: name, values: values}) {
				checkKind(t, object)
			}
		})
	}
}

// TestNamesAreTaken: a component of one's own has no name of an object that it would have too, nor of pods that others select, whichever values
// bring them.
func TestNamesAreTaken(t *testing.T) {
	t.Parallel()
	taken := map[string]bool{}
	for _, v := range variants() {
		if v.release != "" {
			continue // the operator's cluster is named after the release
		}
		for _, object := range installed(t, v) {
			taken[object.GetLabels()["app.kubernetes.io/name"]] = true
			if slices.Contains([]string{"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"}, object.GetKind()) {
				taken[object.GetName()] = true
			}
		}
	}
	components := table(t)
	for name := range taken {
		if _, ok := components[name]; ok || name == "review-service" {
			continue
		}
		_, err := render(t, chartFolder, variant{values: "services: {" + name + ": {port: 8950, context: /own}}"})
		if want := "services." + name + " has the name of something"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a component called %s: %v, want an error with %q", name, err, want)
		}
	}
}

// TestIssuersAreRefused: issuers that could issue nothing.
func TestIssuersAreRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ values, want string }{
		{"letsEncrypt: {email: ops}", `letsEncrypt.email is "ops": it must be an address`},
		{"{letsEncrypt: {enabled: false}, acme: {server: 'https://ca', email: a b@c}}", "acme.email"},
		{"{letsEncrypt: {email: ops@example.com, solver: gateway, gateway: {name: ''}}}", "letsEncrypt/gateway/name"},
		{"{letsEncrypt: {email: ops@example.com, solver: gateway, gateway: {namespace: ''}}}", "letsEncrypt/gateway/namespace"},
		{"{letsEncrypt: {email: ops@example.com, className: ''}}", "letsEncrypt/className"},
		{"{letsEncrypt: {enabled: false}, selfSigned: {enabled: false}}", "there would be no issuer at all"},
	} {
		if _, err := render(t, "issuers", variant{values: test.values}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("render(%s) = %v, want an error with %q", test.values, err, test.want)
		}
	}
}
