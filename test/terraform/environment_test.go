package terraform

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
)

// tienda is the program, built once.
var tienda = sync.OnceValues(func() (string, error) {
	providers, err := mirror()
	if err != nil {
		return "", err
	}
	program := filepath.Join(providers, "tienda")
	if out, err := exec.Command("go", "build", "-C", root, "-o", program, "./cmd/tienda").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return program, nil
})

// desk is where an operator works: a copy of deploy, environment.sh to be called, a store that is a stand-in for Spaces, an API that
// gives credentials, and stand-ins for the programs that talk to a cluster.
type desk struct {
	*workspace
	environment string
	store       *store
	terraform   string
	version     atomic.Value // of Kubernetes, that DigitalOcean says the cluster has
	cluster     string       // what kubectl and helm find: a folder for each namespace, a file for each Secret, and helm.log
}

// kubectl knows Secrets and namespaces, and nothing else.
const kubectl = `#!/bin/sh
[ "$KUBECONFIG" = "$HOME/.kube/ecommerce-$ENVIRONMENT" ] && [ "$(cat "$KUBECONFIG")" = credentials ] || { echo "kubectl: other credentials: $KUBECONFIG" >&2; exit 1; }
case "$*" in
"get namespace "*" --ignore-not-found -o name") [ ! -d "$CLUSTER/$3" ] || echo "namespace/$3" ;;
"--namespace "*" get secret "*" --ignore-not-found -o go-template="*) cat "$CLUSTER/$2/$5" 2>/dev/null || true ;;
"--namespace "*" delete secret "*) rm "$CLUSTER/$2/$5" ;;
"--namespace "*" create secret generic "*)
	[ -d "$CLUSTER/$2" ] || { echo "namespaces \"$2\" not found" >&2; exit 1; }
	[ ! -e "$CLUSTER/$2/$6" ] || { echo "secrets \"$6\" already exists" >&2; exit 1; }
	file=$CLUSTER/$2/$6
	shift 6
	for literal in "$@"; do literal=${literal#--from-literal=}; printf '%s ' "${literal%%=*}"; done >"$file" ;;
*) echo "kubectl: not taught: $*" >&2; exit 1 ;;
esac
`

// helm writes down what it is asked, and the values of files. Of revisions it knows what is in history.json, and the image
// that is there beside what Helm tells is all that their manifests say.
const helm = `#!/bin/sh
[ -e "$KUBECONFIG" ] || exit 1
told() { jq -r --arg revision "$1" '.[] | select((.revision | tostring) == $revision) | .image' "$CLUSTER/history.json"; }
case "$*" in
"history shop --namespace ecommerce-$ENVIRONMENT --output json") cat "$CLUSTER/history.json" && exit ;;
"get manifest shop --namespace ecommerce-$ENVIRONMENT --revision "*) told "$7" && exit ;;
"get values shop --namespace ecommerce-$ENVIRONMENT --revision "*" --output json") printf '{"image":{"repository":"registry.example.com/tienda","tag":"%s"}}' "$(told "$7")" && exit ;;
esac
{
	echo "helm $*"
	while [ $# -gt 0 ]; do
		[ "$1" != --values ] || cat "$2"
		shift
	done
} >>"$CLUSTER/helm.log"
`

// doctl takes the commands of the documents, as its reference has them.
const doctl = `#!/bin/sh
case "$*" in
"auth init --access-token token" | "spaces keys create bootstrap --grants bucket=;permission=fullaccess" | \
	"registry create shop --region nyc3 --subscription-tier basic" | "registry login" | \
	"kubernetes options versions" | "kubernetes cluster get ecommerce-stage --format Version" | "kubernetes cluster node-pool update ecommerce-stage workers --max-nodes "[25]) echo "doctl $*" ;;
*) echo "doctl: not taught: $*" >&2; exit 1 ;;
esac
`

// aws asks the store, which wants no signature.
const aws = `#!/bin/sh
[ "$1" = s3api ] && [ "$3" = --endpoint-url ] && [ "$5" = --bucket ] || { echo "aws: not taught: $*" >&2; exit 1; }
case "$2 $7 $9" in
"list-object-versions --prefix ") curl -fsS "$4/$6?versions&prefix=$8" ;;
"get-object --key --version-id") curl -fsS "$4/$6/$8?versionId=${10}" -o "${11}" ;;
*) echo "aws: not taught: $*" >&2; exit 1 ;;
esac
`

// fakeGo builds by copying what was built, and says what it would push.
const fakeGo = `#!/bin/sh
case "$*" in
*" -o bin/tienda ./cmd/tienda") mkdir -p bin && cp "$TIENDA" bin/tienda ;;
"build -C test/cluster "*" helm.sh/helm/v4/cmd/helm") while [ "$1" != -o ]; do shift; done; mkdir -p "$(dirname "$2")" && cp "$PROGRAMS/helm" "$2" ;;
"-C deploy run ./image "*) echo "go $*" ;;
*) echo "go: not taught: $*" >&2; exit 1 ;;
esac
`

func newDesk(t *testing.T, program, environment string) *desk {
	t.Helper()
	built, err := tienda()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorkspace(t, program, ".")
	d := &desk{workspace: w, environment: environment, store: newStore(t), terraform: program, cluster: t.TempDir()}
	for _, part := range []string{"cluster", "platform"} {
		d.root(part).give()
	}
	programs := t.TempDir()
	for name, text := range map[string]string{"kubectl": kubectl, "helm": helm, "doctl": doctl, "aws": aws, "go": fakeGo, "terraform": "#!/bin/sh\nexec " + program + " \"$@\"\n"} {
		if err := os.WriteFile(filepath.Join(programs, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	api := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		switch path, ok := strings.CutPrefix(r.URL.Path, "/v2/kubernetes/clusters/replayed"); {
		case !ok || r.Header.Get("Authorization") != "Bearer token":
			http.Error(out, "", http.StatusNotFound)
		case path == "":
			_, _ = fmt.Fprintf(out, `{"kubernetes_cluster":{"version":%q}}`, d.version.Load())
		default:
			_, _ = io.WriteString(out, "credentials\n")
		}
	}))
	t.Cleanup(api.Close)
	w.environ = append(w.environ, "TERRAFORM="+program, "TIENDA="+built, "STATE_ENDPOINT="+d.store.url, "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret",
		"DIGITALOCEAN_TOKEN=token", "DIGITALOCEAN_API_URL="+api.URL, "APPROVE=yes", "TF_CLI_ARGS=-no-color",
		"PATH="+programs+":"+os.Getenv("PATH"), "PROGRAMS="+programs, "CLUSTER="+d.cluster, "ENVIRONMENT="+environment)
	w.program = filepath.Join(w.folder, "environment.sh")
	d.history(good, deployed)
	d.version.Store("1.35.6-do.0")
	return d
}

// revision is an entry of Helm's history, with the tag of the image that it had.
type revision struct {
	Revision    int    `json:"revision"`
	Status      string `json:"status"`
	Description string `json:"description"`
	Chart       string `json:"chart"`
	Image       string `json:"image"`
}

// What the revisions of a history may be.
var (
	good     = revision{Status: "superseded", Description: "Upgrade complete", Image: "1.0"}
	deployed = revision{Status: "deployed", Description: "Upgrade complete", Image: "1.1"}
	failed   = revision{Status: "failed", Description: `Upgrade "shop" failed: resource not ready`, Image: "2.0"}
)

// history is what Helm knows from now on.
func (d *desk) history(revisions ...revision) {
	d.t.Helper()
	for i := range revisions {
		revisions[i].Revision, revisions[i].Chart = i+1, "tienda-0.2.0"
	}
	text, err := json.Marshal(revisions)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.cluster, "history.json"), text, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// root is a root of the environment, and the program at work in it.
func (d *desk) root(part string) *workspace {
	in := *d.workspace
	in.program, in.folder = d.terraform, filepath.Join(d.workspace.folder, "environments", d.environment, part)
	return &in
}

// kinds are the types of what is in a state.
func (d *desk) kinds(name string) map[string]int {
	d.t.Helper()
	var state struct {
		Resources []struct{ Mode, Type string }
	}
	if text := d.store.object(d.environment + "/" + name + ".tfstate"); text != "" {
		if err := json.Unmarshal([]byte(text), &state); err != nil {
			d.t.Fatal(err)
		}
	}
	kinds := map[string]int{}
	for _, r := range state.Resources {
		if r.Mode == "managed" {
			kinds[r.Type]++
		}
	}
	return kinds
}

// shell runs commands as somebody at the desk types them.
func (d *desk) shell(commands string) (string, error) {
	d.t.Helper()
	shell := exec.CommandContext(d.t.Context(), "sh", "-e")
	shell.Dir, shell.Env, shell.Stdin = d.folder, d.command(d.t.Context()).Env, strings.NewReader(commands)
	out, err := shell.CombinedOutput()
	return string(out), err
}

// advised are the commands that a refusal says.
var advised = regexp.MustCompile(`(?m)^  ((?:export|kubectl) .*)$`)

// follow does what a refusal says, with values in the place of dots.
func (d *desk) follow(said string) {
	d.t.Helper()
	var commands strings.Builder
	for _, match := range advised.FindAllStringSubmatch(said, -1) {
		commands.WriteString(strings.ReplaceAll(match[1], "=...", "=value") + "\n")
	}
	if out, err := d.shell(commands.String()); err != nil {
		d.t.Fatalf("what was said to be done: %v\n%s\n%s", err, commands.String(), out)
	}
}

// TestEnvironment goes the way of an operator with environment.sh, with providers that pretend and a store that is a stand-in: plan,
// the first day, nothing more to do, destroy; and production is not destroyed.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{"stage", "production"} {
		t.Run(environment, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, programs(t)[0], environment)
			if out := d.run("plan", environment); !strings.Contains(out, "conditional writes:  honoured") || !strings.Contains(out, "nodes of pool workers") || !strings.Contains(out, "cannot be planned before there is one") {
				t.Errorf("plan before there is anything:\n%s", out)
			}
			d.firstDay()
			for _, name := range []string{"terraform", "platform"} {
				text := d.store.object(environment + "/" + name + ".tfstate")
				var state struct{ Outputs map[string]any }
				if err := json.Unmarshal([]byte(text), &state); err != nil {
					t.Errorf("state %s/%s.tfstate: %v", environment, name, err)
				}
				// What providers answer as passwords, see schemas/data.json.
				if strings.Contains(fmt.Sprint(state.Outputs), "a password of") || environment == "stage" && strings.Contains(text, "a password of") {
					t.Errorf("%s/%s.tfstate has a password where docs/terraform.md lists none", environment, name)
				}
			}
			if out := d.run("plan", environment); strings.Count(out, "No changes.") != 2 || !strings.Contains(out, "managed mysql") && environment == "production" {
				t.Errorf("the second plan is not empty:\n%s", out)
			}
			d.environ = append(d.environ, "IMAGE=registry.example.com:5000/shop/tienda:2.0@sha256:"+strings.Repeat("a", 64))
			if out := d.run("plan", environment); !strings.Contains(out, `"digest": "sha256:aaaa`) && !strings.Contains(out, `"digest" = "sha256:aaaa`) {
				t.Errorf("a deployment is no plan of another image:\n%s", out)
			}
			d.environ = d.environ[:len(d.environ)-1]
			d.version.Store("1.35.7-do.0") // which is on offer no more, or not yet
			if out := d.run("plan", environment); !strings.Contains(out, `"1.35.6-do.0" -> "1.35.7-do.0"`) || strings.Contains(out, "replace") {
				t.Errorf("the cluster is not left at the version that it has:\n%s", out)
			}
			d.version.Store("1.35.6-do.0")
			d.gone()
			if environment == "production" {
				d.protected()
			}
			if err := os.Remove(filepath.Join(d.folder, ".kube/ecommerce-"+environment)); err != nil { // as good as expired
				t.Fatal(err)
			}
			if out := d.run("destroy", environment); !strings.Contains(out, "this deletes the data too") || strings.Index(out, "this deletes the data too") > strings.Index(out, "plan of platform") {
				t.Errorf("nobody is warned that data go, before the plan:\n%s", out)
			}
			for _, name := range []string{"terraform", "platform"} {
				if left := d.kinds(name); len(left) > 0 {
					t.Errorf("something is left in %s: %v", name, left)
				}
			}
			if err := d.store.backend.CreateBucket("another"); err != nil {
				t.Fatal(err)
			}
			d.environ = append(d.environ, "STATE_BUCKET=another")
			if out := d.run("plan", environment); !strings.Contains(out, "/another/\nconditional writes:  honoured") {
				t.Errorf("another bucket has to prove nothing:\n%s", out)
			}
		})
	}
}

// firstDay applies before the Secrets are there that only people can make: they are told which, and have where to put them.
func (d *desk) firstDay() {
	d.t.Helper()
	namespace := "ecommerce-" + d.environment
	out, err := d.try("apply", d.environment)
	if err == nil || !strings.Contains(out, "only people can make") || !strings.Contains(out, "make apply-"+d.environment+" again") {
		d.t.Fatalf("an apply without Secrets: %v\n%s", err, out)
	}
	if kinds := d.kinds("platform"); kinds["kubernetes_namespace_v1"] == 0 || kinds["helm_release"] > 0 {
		d.t.Fatalf("before the Secrets there are %v, want namespaces and no releases", kinds)
	}
	if err := os.Mkdir(filepath.Join(d.cluster, namespace), 0o755); err != nil {
		d.t.Fatal(err)
	}
	// One of them is made without its second key.
	half := "export KUBECONFIG=$HOME/.kube/" + namespace + "; kubectl --namespace " + namespace + " create secret generic backup --from-literal=access-key=value\n"
	if out, err := d.shell(half); err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
	out, err = d.try("apply", d.environment)
	if err == nil || !strings.Contains(out, "delete secret backup") || strings.Contains(out, "comes first") || d.environment == "production" && !strings.Contains(out, "create secret generic stripe --from-literal=secret-key=... --from-literal=webhook-secret=...") {
		d.t.Fatalf("an apply with half a Secret: %v\n%s", err, out)
	}
	d.follow(out)
	d.run("apply", d.environment)
	if kinds := d.kinds("platform"); kinds["helm_release"] < 4 {
		d.t.Errorf("after the Secrets there are %v, want all releases", kinds)
	}
	if text, err := os.ReadFile(filepath.Join(d.folder, ".kube", namespace)); err != nil || string(text) != "credentials\n" {
		d.t.Errorf("credentials: %q, %v", text, err)
	}
}

// gone plans after somebody has deleted the cluster by hand: the state knows its id, and nobody has credentials for it.
func (d *desk) gone() {
	d.t.Helper()
	name := d.environment + "/terraform.tfstate"
	before := d.store.object(name)
	// What the provider does when it finds no cluster.
	cluster := d.root("cluster")
	cluster.run("state", "rm", "module.cluster.digitalocean_kubernetes_cluster.main")
	if d.environment == "production" {
		if out, err := d.try("plan", d.environment); err == nil || !strings.Contains(out, "module.cluster.terraform_data.protection[0] has") {
			d.t.Errorf("a protected cluster that is gone is made anew: %v\n%s", err, out)
		}
		cluster.run("state", "rm", "module.cluster.terraform_data.protection[0]") // as docs/recovery.md says
	}
	if out := d.run("plan", d.environment); !strings.Contains(out, "nodes of pool workers") || !strings.Contains(out, "cannot be planned before there is one") || strings.Contains(out, "credentials") {
		d.t.Errorf("the plan of a cluster that was deleted by hand:\n%s", out)
	}
	d.store.put(name, before)
	if out := d.run("plan", d.environment); strings.Count(out, "No changes.") != 2 {
		d.t.Errorf("the plan with the cluster again:\n%s", out)
	}
}

// protected tries to destroy production, and then lifts what refuses it.
func (d *desk) protected() {
	d.t.Helper()
	if out, err := d.try("destroy", d.environment); err == nil || !strings.Contains(out, "CONFIRM=ecommerce-production") {
		d.t.Errorf("production is destroyed without a word: %v\n%s", err, out)
	}
	d.environ = append(d.environ, "CONFIRM=ecommerce-production")
	out, err := d.try("destroy", d.environment)
	if err == nil || !strings.Contains(out, "state rm") {
		d.t.Errorf("production is destroyed with a word: %v\n%s", err, out)
	}
	cluster := d.root("cluster")
	if out, err := cluster.try("destroy", "-auto-approve"); err == nil || !strings.Contains(out, "prevent_destroy") {
		d.t.Errorf("production is destroyed by hand: %v\n%s", err, out)
	}
	for _, change := range []string{`pool={size="s-2vcpu-4gb",start_nodes=3,min_nodes=3,max_nodes=10}`, "ip_range=10.30.0.0/16"} {
		if out, err := cluster.try("plan", "-var", change); err == nil || !strings.Contains(out, "prevent_destroy") {
			d.t.Errorf("production is replaced for %s: %v\n%s", change, err, out)
		}
	}
	for _, address := range strings.Fields(cluster.run("state", "list")) {
		if strings.Contains(address, "terraform_data.protection") {
			cluster.run("state", "rm", address)
		}
	}
}

// TestHelmOwnsTheRelease: where deployments are Helm's, Terraform makes everything but the release, and Helm is told what Terraform
// knows; where they are Terraform's, Helm is kept away from it.
func TestHelmOwnsTheRelease(t *testing.T) {
	t.Parallel()
	d := newDesk(t, programs(t)[0], "stage")
	image := "IMAGE=registry.example.com:5000/tienda@sha256:" + strings.Repeat("b", 64)
	d.environ = append(d.environ, image)
	for action, want := range map[string]string{"deploy": "make apply-stage", "rollback": "make apply-stage"} {
		if out, err := d.try(action, "stage"); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s before there is anything: %v\n%s", action, err, out)
		}
	}
	platform := d.root("platform")
	own, err := os.ReadFile(filepath.Join(platform.folder, "own.auto.tfvars"))
	if err != nil {
		t.Fatal(err)
	}
	platform.write("own.auto.tfvars", string(own)+"release_owner = \"helm\"\n")
	d.run("apply", "stage")
	if kinds := d.kinds("platform"); kinds["helm_release"] != 4 { // metrics-server, entry, cert-manager, issuers
		t.Errorf("Terraform has %v, want four releases and not the shop's", kinds)
	}
	if err := os.Mkdir(filepath.Join(d.cluster, "ecommerce-stage"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := d.try("deploy", "stage")
	if err == nil || !strings.Contains(out, "make deploy-stage again") {
		t.Errorf("a deployment without Secrets: %v\n%s", err, out)
	}
	d.follow(out)
	d.run("deploy", "stage")
	text, err := os.ReadFile(filepath.Join(d.cluster, "helm.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`--set-json image={"repository":"registry.example.com:5000/tienda","digest":"sha256:bbb`, "upgrade shop ", " --install ", "--rollback-on-failure",
		`profiles: [stage]`, `"host": "stage.shop.example.com"`, `"existingSecret": "backup"`, // the values of the environment, and Terraform's
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("Helm was not told %q:\n%s", want, text)
		}
	}
	d.rollback()
	for _, bad := range []string{"registry.example.com:5000/tienda", "tienda:latest", "tienda@sha256:1234"} {
		d.environ = append(d.environ, "IMAGE="+bad)
		if out, err := d.try("deploy", "stage"); err == nil || !strings.Contains(out, "better a digest") {
			t.Errorf("image %s: %v\n%s", bad, err, out)
		}
	}
	d.environ = append(d.environ, image)
	platform.write("own.auto.tfvars", string(own))
	d.run("apply", "stage")
	for _, action := range []string{"deploy", "rollback"} {
		if out, err := d.try(action, "stage"); err == nil || !strings.Contains(out, "release is Terraform's") {
			t.Errorf("%s of what is Terraform's: %v\n%s", action, err, out)
		}
	}
}

// rollback goes back with every history that there may be: to what was good and is something else than what runs, and nowhere when there
// is no such revision. Helm by itself goes to the revision before.
func (d *desk) rollback() {
	d.t.Helper()
	back := revision{Status: "deployed", Description: "Rollback to 1", Image: good.Image}
	older, unlike := good, good
	older.Image = "0.9"
	unlike.Description, unlike.Image = `Rollback "shop" failed: no endpoints`, "2.0" // Helm calls it superseded when the rollback from it fails too
	for name, test := range map[string]struct {
		history []revision
		want    string
	}{
		"the one before":                              {[]revision{older, good, deployed}, "rollback shop 2 "},
		"a deployment was taken back":                 {[]revision{older, good, failed, back}, "rollback shop 1 "},
		"the first deployment after was taken back":   {[]revision{good, failed, back}, ""},
		"what runs failed":                            {[]revision{good, deployed, failed}, "rollback shop 2 "},
		"what runs failed, and the rollback":          {[]revision{good, unlike, failed}, "rollback shop 1 "},
		"the same once more":                          {[]revision{older, deployed, deployed}, "rollback shop 1 "},
		"the first one":                               {[]revision{deployed}, ""},
		"nothing was good":                            {[]revision{failed, failed, deployed}, ""},
		"somebody was killed while he deployed again": {[]revision{deployed, {Status: "pending-upgrade", Description: "Preparing upgrade", Image: "2.0"}}, "rollback shop 1 "},
	} {
		d.history(test.history...)
		if err := os.Remove(filepath.Join(d.cluster, "helm.log")); err != nil && !os.IsNotExist(err) {
			d.t.Fatal(err)
		}
		out, err := d.try("rollback", "stage")
		log, readErr := os.ReadFile(filepath.Join(d.cluster, "helm.log"))
		if readErr != nil {
			d.t.Fatal(readErr)
		}
		if test.want == "" {
			if err == nil || !strings.Contains(out, "nothing to go back to") || strings.Contains(string(log), "rollback") {
				d.t.Errorf("%s: %v, want a refusal\n%s\n%s", name, err, out, log)
			}
			continue
		}
		if err != nil || !strings.Contains(string(log), test.want) || !strings.Contains(out, "image registry.example.com/tienda:") {
			d.t.Errorf("%s: %v, want %s\n%s\n%s", name, err, test.want, out, log)
		}
	}
	d.environ = append(d.environ, "REVISION=1")
	d.history(good, failed, back)
	if out := d.run("rollback", "stage"); !strings.Contains(out, "back to revision 1: tienda-0.2.0") || !strings.Contains(out, "tienda:1.0") {
		d.t.Errorf("a revision that is named: %s", out)
	}
}

// TestBucketThatLocksNothing: where a lock would be none nobody works in an environment, and nothing is left there.
func TestBucketThatLocksNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t, programs(t)[0], "stage")
	d.store.ignores.Store(true)
	for _, action := range []string{"plan", "apply", "destroy"} {
		out, err := d.try(action, "stage")
		if err == nil || !strings.Contains(out, "conditional writes:  ignored") || !strings.Contains(out, "one writer only") || strings.Contains(out, "plan of cluster") {
			t.Errorf("%s goes on in a bucket that locks nothing: %v\n%s", action, err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(d.root("cluster").folder, ".terraform")); !os.IsNotExist(err) {
		t.Errorf("there was an init: %v", err)
	}
	if left, err := d.store.backend.ListBucketVersions(stateBucket, nil, &gofakes3.ListBucketVersionsPage{}); err != nil || len(left.Versions) > 0 {
		t.Errorf("left in the bucket: %+v, %v", left, err)
	}
	// The next one that asks finds a bucket that does.
	d.store.ignores.Store(false)
	if out := d.run("plan", "stage"); !strings.Contains(out, "conditional writes:  honoured") {
		t.Errorf("a bucket that was refused has nothing to prove:\n%s", out)
	}
}
