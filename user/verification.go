package user

import (
	"errors"
	"net/http"

	"tienda/api"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

func (s *Service) listVerificationTokens(w http.ResponseWriter, r *http.Request) error {
	return verificationTokens().list(w, r, s.db, "")
}

func (s *Service) getVerificationToken(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "verificationTokenId")
	if err != nil {
		return err
	}
	v, err := verificationTokens().byID(r.Context(), s.db, id)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, v)
}

// postVerificationToken adds a token; with the id of an existing one it is a change.
func (s *Service) postVerificationToken(w http.ResponseWriter, r *http.Request) error {
	body, err := web.Read[api.VerificationToken](w, r)
	if err != nil {
		return err
	}
	if body.VerificationTokenID != 0 {
		_, err := verificationTokens().byID(r.Context(), s.db, body.VerificationTokenID)
		if err == nil {
			return s.changeVerificationToken(w, r, body.VerificationTokenID, body)
		}
		if !api.IsStatus(err, http.StatusNotFound) {
			return err
		}
	}
	if body.Credential == nil || body.Credential.CredentialID == 0 {
		return api.Invalid(api.FieldError{Field: "credential.credentialId", Reason: "must name the credential that the token verifies"})
	}
	if err := api.Valid(body.Validate()); err != nil {
		return err
	}
	ctx, now := r.Context(), s.now()
	var created api.VerificationToken
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		id, err := insertVerificationToken(ctx, tx, body.Credential.CredentialID, body, now)
		if err != nil {
			return err
		}
		if created, err = verificationTokens().byID(ctx, tx, id); err != nil {
			return err
		}
		return journal.Append(ctx, tx, "verificationToken", id, "CREATED", nil, now)
	})
	if errors.Is(err, sqldb.ErrReference) {
		return api.Invalid(api.FieldError{Field: "credential.credentialId", Reason: "names no credential"})
	}
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/user-service/api/verificationTokens/"+created.VerificationTokenID.String())
	return web.JSON(w, http.StatusCreated, created)
}

func (s *Service) putVerificationTokenByID(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "verificationTokenId")
	if err != nil {
		return err
	}
	body, err := web.Read[api.VerificationToken](w, r)
	if err != nil {
		return err
	}
	return s.changeVerificationToken(w, r, id, body)
}

func (s *Service) changeVerificationToken(w http.ResponseWriter, r *http.Request, id api.ID, body api.VerificationToken) error {
	if err := api.Valid(body.Validate()); err != nil {
		return err
	}
	ctx, now := r.Context(), s.now()
	var v api.VerificationToken
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		found, err := updateVerificationToken(ctx, tx, id, body, now)
		if err != nil {
			return err
		}
		if !found {
			return verificationTokens().notFound(id)
		}
		if v, err = verificationTokens().byID(ctx, tx, id); err != nil {
			return err
		}
		return journal.Append(ctx, tx, "verificationToken", id, "CHANGED", nil, now)
	})
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, v)
}

func (s *Service) deleteVerificationToken(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "verificationTokenId")
	if err != nil {
		return err
	}
	ctx := r.Context()
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM verification_tokens WHERE verification_token_id = ?`, int64(id))
		if err != nil {
			return err
		}
		if n == 0 {
			return verificationTokens().notFound(id)
		}
		return journal.Append(ctx, tx, "verificationToken", id, "DELETED", nil, s.now())
	})
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, true)
}
