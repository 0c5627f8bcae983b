package helm_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestScore asks kube-score about both environments and about backups. What it criticises is mended, or stands in exemptions.yaml with the
// reason.
func TestScore(t *testing.T) {
	t.Parallel()
	var looked []string
	var found []criticism
	for environment := range goldens() {
		objects, criticised := score(t, "testdata/"+environment+".yaml")
		looked, found = append(looked, objects...), append(found, criticised...)
	}
	ours := slices.DeleteFunc(exemptions(t), func(e exemption) bool { return e.Chart != "" || e.Check == kubeconformCheck })
	remain, needless := remaining(t, ours, looked, found)
	for _, c := range remain {
		t.Errorf("%s: %s: %s", c.object, c.check, c.comment)
	}
	for _, complaint := range needless {
		t.Error(complaint)
	}
}

// gradeOK is from where on kube-score is content; below are warnings, and below those what it calls critical.
const gradeOK = 10

// score are the objects of a file, and what kube-score criticises in them.
func score(t *testing.T, file string) ([]string, []criticism) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "tool", "-modfile=../../tools/charts/go.mod", "kube-score", "score", file, "--output-format=json")
	var out, complaints bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaints
	err := command.Run() // it fails when it criticises
	var scored []struct {
		TypeMeta struct {
			Kind string `json:"kind"`
		} `json:"type_meta"`
		ObjectMeta struct {
			Name string `json:"name"`
		} `json:"object_meta"`
		Checks []struct {
			Check struct {
				ID string `json:"id"`
			} `json:"check"`
			Grade    int  `json:"grade"`
			Skipped  bool `json:"skipped"`
			Comments []struct {
				Summary string `json:"summary"`
			} `json:"comments"`
		} `json:"checks"`
	}
	if errDecode := json.Unmarshal(out.Bytes(), &scored); errDecode != nil || len(scored) == 0 {
		t.Fatalf("kube-score: %v, %v\n%s%s", err, errDecode, complaints.String(), out.String())
	}
	var looked []string
	var found []criticism
	for _, object := range scored {
		name := object.TypeMeta.Kind + "/" + object.ObjectMeta.Name
		looked = append(looked, name)
		for _, check := range object.Checks {
			if check.Skipped || check.Grade >= gradeOK {
				continue
			}
			if len(check.Comments) == 0 {
				found = append(found, criticism{name, check.Check.ID, ""})
			}
			for _, c := range check.Comments {
				found = append(found, criticism{name, check.Check.ID, strings.TrimSpace(c.Summary)})
			}
		}
	}
	return looked, found
}
