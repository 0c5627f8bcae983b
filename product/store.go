package product

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"tienda/api"
	"tienda/sqldb"
)

// What a query of products selects, and which of them it may see.
const (
	productColumns = `p.product_id, p.title, p.image_url, p.sku, p.description, p.price, p.currency, p.on_hand - p.reserved,
		p.published, p.version, p.created_at, p.updated_at, p.category_id`
	notDeleted = `p.deleted_at IS NULL`
	onSale     = `p.deleted_at IS NULL AND p.published = TRUE`
)

func (s *Service) scanProduct(scan func(...any) error) (api.Product, error) {
	var (
		product              api.Product
		price                *int64
		available            api.Int
		published            bool
		createdAt, updatedAt sqldb.Instant
		category             *api.ID
	)
	err := scan(&product.ProductID, &product.ProductTitle, &product.ImageURL, &product.SKU, &product.Description, &price,
		&product.Currency, &available, &published, &product.Version, &createdAt, &updatedAt, &category)
	if err != nil {
		return product, err
	}
	product.Quantity, product.Published = &available, &published
	product.CreatedAt, product.UpdatedAt = new(time.Time(createdAt)), new(time.Time(updatedAt))
	if price != nil {
		product.PriceUnit = new(s.currency.Amount(*price))
	}
	if category != nil {
		product.Category = &api.Category{CategoryID: *category}
	}
	return product, nil
}

// products reads the products that a WHERE clause, and what stands behind it, selects. Their categories
// come in a second query: MySQL gives up the order of an index for a join, and reads the whole table.
func (s *Service) products(ctx context.Context, q sqldb.Querier, where string, args ...any) ([]api.Product, error) {
	products, err := sqldb.All(ctx, q, s.scanProduct, "SELECT "+productColumns+" FROM products p WHERE "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read products: %w", err)
	}
	of := map[api.ID][]*api.Category{}
	for _, product := range products {
		if c := product.Category; c != nil {
			of[c.CategoryID] = append(of[c.CategoryID], c)
		}
	}
	if len(of) == 0 {
		return products, nil
	}
	ids := slices.Sorted(maps.Keys(of))
	categories, err := sqldb.All(ctx, q, scanCategory, "SELECT "+categoryColumns+categoryTables+" AND "+anyOf("c.category_id", len(ids)), sqldb.Args(ids)...)
	if err != nil {
		return nil, fmt.Errorf("read the categories of products: %w", err)
	}
	for _, category := range categories {
		category.Parent = nil
		for _, nested := range of[category.CategoryID] {
			*nested = category
		}
	}
	return products, nil
}

// productByID reads a product for which visible holds; without one it is [sqldb.ErrNotFound].
func (s *Service) productByID(ctx context.Context, q sqldb.Querier, id api.ID, visible string) (api.Product, error) {
	products, err := s.products(ctx, q, visible+" AND p.product_id = ?", id)
	if err != nil {
		return api.Product{}, err
	}
	if len(products) == 0 {
		return api.Product{}, fmt.Errorf("product %d: %w", id, sqldb.ErrNotFound)
	}
	return products[0], nil
}

// minorPrice is the price as it is stored; nil for none. It has been validated.
func (s *Service) minorPrice(product api.Product) (*int64, error) {
	if product.PriceUnit == nil {
		return nil, nil
	}
	minor, err := s.currency.Minor(*product.PriceUnit)
	if err != nil {
		return nil, fmt.Errorf("price of product %d: %w", product.ProductID, err)
	}
	return &minor, nil
}

// insertProduct writes a product without stock: what it has comes by a movement.
func (s *Service) insertProduct(ctx context.Context, tx *sqldb.Tx, product api.Product, now time.Time) (api.ID, error) {
	price, err := s.minorPrice(product)
	if err != nil {
		return 0, err
	}
	published := product.Published == nil || *product.Published
	id, err := tx.Insert(ctx, `INSERT INTO products (category_id, title, image_url, sku, description, price, currency,
		on_hand, reserved, published, version, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, ?, 1, ?, ?)`,
		categoryOf(product), product.ProductTitle, product.ImageURL, product.SKU, product.Description, price, s.currency.Code,
		published, sqldb.Instant(now), sqldb.Instant(now))
	if err != nil {
		return 0, fmt.Errorf("insert product: %w", err)
	}
	return api.ID(id), nil
}

// writeProduct stores all fields of a product but its stock. The caller has touched the row.
func (s *Service) writeProduct(ctx context.Context, tx *sqldb.Tx, product api.Product) error {
	price, err := s.minorPrice(product)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE products SET category_id = ?, title = ?, image_url = ?, sku = ?, description = ?, price = ?, published = ?
		WHERE product_id = ?`, categoryOf(product), product.ProductTitle, product.ImageURL, product.SKU, product.Description, price,
		product.Published, product.ProductID)
	if err != nil {
		return fmt.Errorf("update product %d: %w", product.ProductID, err)
	}
	return nil
}

// categoryOf is the link to the category as it is stored: NULL for none.
func categoryOf(product api.Product) any {
	if product.Category == nil || product.Category.CategoryID == 0 {
		return nil
	}
	return product.Category.CategoryID
}

// touchProduct moves the version of a product on, which also locks its row until the transaction
// ends: what is read after it stays true.
func touchProduct(ctx context.Context, tx *sqldb.Tx, id api.ID, now time.Time) error {
	n, err := tx.Exec(ctx, `UPDATE products SET version = version + 1, updated_at = ? WHERE product_id = ? AND deleted_at IS NULL`,
		sqldb.Instant(now), id)
	if err != nil {
		return fmt.Errorf("touch product %d: %w", id, err)
	}
	if n == 0 {
		return sqldb.ErrNotFound
	}
	return nil
}

// What a query of categories selects and from where.
const (
	categoryColumns = `c.category_id, c.title, c.image_url, p.category_id, p.title, p.image_url`
	categoryTables  = ` FROM categories c LEFT JOIN categories p ON p.category_id = c.parent_id WHERE c.deleted_at IS NULL`
)

func scanCategory(scan func(...any) error) (api.Category, error) {
	var (
		category api.Category
		parentID *api.ID
		parent   api.Category
	)
	err := scan(&category.CategoryID, &category.CategoryTitle, &category.ImageURL, &parentID, &parent.CategoryTitle, &parent.ImageURL)
	if parentID != nil {
		parent.CategoryID = *parentID
	}
	category.Parent = &parent
	return category, err
}

func categoryByID(ctx context.Context, q sqldb.Querier, id api.ID) (api.Category, error) {
	return scanCategory(q.QueryRow(ctx, "SELECT "+categoryColumns+categoryTables+" AND c.category_id = ?", id).Scan)
}

// subtree returns the ids of a category and of all below it; none when it does not exist.
func subtree(ctx context.Context, q sqldb.Querier, root api.ID) ([]api.ID, error) {
	// UNION drops what was seen, so that even a circle in the data would end.
	ids, err := sqldb.All(ctx, q, scanID, `WITH RECURSIVE tree (category_id) AS (
			SELECT category_id FROM categories WHERE category_id = ? AND deleted_at IS NULL
			UNION
			SELECT c.category_id FROM categories c JOIN tree t ON c.parent_id = t.category_id WHERE c.deleted_at IS NULL
		) SELECT category_id FROM tree ORDER BY category_id`, root)
	if err != nil {
		return nil, fmt.Errorf("categories below %d: %w", root, err)
	}
	return ids, nil
}

func scanID(scan func(...any) error) (id api.ID, err error) {
	err = scan(&id)
	return id, err
}

// lockTree keeps every other change of the tree's shape waiting until the transaction ends.
func lockTree(ctx context.Context, tx *sqldb.Tx) error {
	if _, err := tx.Exec(ctx, `UPDATE category_tree SET version = version + 1 WHERE tree_id = 1`); err != nil {
		return fmt.Errorf("lock the category tree: %w", err)
	}
	return nil
}

// lockCategory makes sure that a category exists and is not hidden before the transaction ends.
func lockCategory(ctx context.Context, tx *sqldb.Tx, id api.ID, field string) error {
	n, err := tx.Exec(ctx, `UPDATE categories SET updated_at = updated_at WHERE category_id = ? AND deleted_at IS NULL`, id)
	if err != nil {
		return fmt.Errorf("lock category %d: %w", id, err)
	}
	if n == 0 {
		return api.Invalid(api.FieldError{Field: field, Reason: fmt.Sprintf("%d is not a category", id)})
	}
	return nil
}
