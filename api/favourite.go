package api

import "encoding/json"

// Favourite says that a user likes a product since a moment; the three together are its key.
type Favourite struct {
	UserID    ID       `json:"userId"`
	ProductID ID       `json:"productId"`
	LikeDate  DateTime `json:"likeDate"`
	User      *User    `json:"user,omitempty"`
	Product   *Product `json:"product,omitempty"`
}

// UnmarshalJSON also accepts "userDto" and "productDto".
func (f *Favourite) UnmarshalJSON(data []byte) error {
	type plain Favourite
	aux := struct {
		*plain
		UserAlias    *User    `json:"userDto"`
		ProductAlias *Product `json:"productDto"`
	}{plain: (*plain)(f)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	if f.User == nil {
		f.User = aux.UserAlias
	}
	if f.Product == nil {
		f.Product = aux.ProductAlias
	}
	return nil
}

// missingField is what clients of the original system read in msg when a field is missing.
const missingField = "*Field must not be NULL!**"

// Validate reports what is missing in a favourite as it was sent: a 422 that names the fields.
func (f Favourite) Validate() error {
	var missing []FieldError
	if f.UserID < 1 {
		missing = append(missing, FieldError{Field: "userId", Reason: "must be the id of a user"})
	}
	if f.ProductID < 1 {
		missing = append(missing, FieldError{Field: "productId", Reason: "must be the id of a product"})
	}
	if f.LikeDate.IsZero() {
		missing = append(missing, FieldError{Field: "likeDate", Reason: "must be a date and time: dd-MM-yyyy__HH:mm:ss:SSSSSS or RFC 3339"})
	}
	if len(missing) == 0 {
		return nil
	}
	problem := Invalid(missing...)
	problem.Msg = missingField
	return problem
}
