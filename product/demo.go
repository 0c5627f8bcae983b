package product

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tienda/api"
	"tienda/journal"
	"tienda/sqldb"
)

// demoCategories are in the order of their ids, from 1 on; parent 0 is the root of the tree.
var demoCategories = []struct {
	parent api.ID
	title  string
}{
	{0, "Computer"}, {0, "Mode"}, {0, "Game"},
	{1, "Laptops"}, {1, "Monitors"}, {1, "Peripherals"}, {6, "Keyboards"}, {6, "Mice"}, {1, "Storage"},
	{2, "Women"}, {2, "Men"}, {2, "Shoes"}, {2, "Watches"},
	{3, "Video Games"}, {3, "Consoles"}, {3, "Board Games"},
}

// demoProducts are in the order of their ids, from 1 on; cents are hundredths of the currency.
var demoProducts = []struct {
	category    api.ID
	title, sku  string
	cents       int64
	stock       int64
	description string
}{
	{1, "Asus Zenbook 14 OLED", "ASU-ZB14-OLED", 1099_00, 50, "A 14-inch OLED screen at 1.2 kg, 16 GB of memory and a battery that lasts the day."},
	{1, "HP Pavilion 15", "HP-PAV15-512", 749_00, 50, "The everyday laptop: 15.6 inches, 16 GB of memory, 512 GB SSD and a full-size keyboard."},
	{2, "Armani Exchange Leather Belt", "ARM-BELT-BLK", 89_90, 50, "Smooth black calf leather with a brushed buckle. Cut it to your size once, wear it for years."},
	{3, "GTA V Premium Edition", "GTA-V-PREM", 29_99, 50, "Los Santos in full: the complete story, the online world and the starter pack."},

	{4, "Lenovo ThinkPad X1 Carbon", "LEN-X1C-G12", 1689_00, 18, "Carbon fibre, 1.1 kg and the keyboard people switch brands for. 32 GB of memory, 1 TB SSD."},
	{4, "Apple MacBook Air 13", "APL-MBA13-512", 1299_00, 24, "Thin, silent and quick, with up to 18 hours on one charge. 16 GB of memory, 512 GB SSD."},
	{4, "Dell XPS 14", "DEL-XPS14-1TB", 1599_00, 12, "A machined aluminium body around a bright 14.5-inch touch screen. 32 GB of memory, 1 TB SSD."},
	{4, "Acer Swift Go 16", "ACR-SWG16", 899_00, 31, "A large 16-inch screen in a case that still fits the backpack. 16 GB of memory, 1 TB SSD."},
	{4, "Framework Laptop 13", "FRW-L13-DIY", 1049_00, 9, "Every part can be replaced with one screwdriver, the ports included."},

	{5, "Dell UltraSharp 27 4K", "DEL-U2725QE", 629_00, 15, "4K on 27 inches, factory calibrated, one USB-C cable for picture, data and 90 W of power."},
	{5, "LG UltraGear 27 QHD 165 Hz", "LG-27GP850", 349_00, 22, "A fast IPS panel with 1 ms response for players who also care about colours."},
	{5, "Samsung Odyssey 34 Ultrawide", "SAM-G5-34", 429_00, 11, "34 curved inches at 165 Hz: two windows side by side, or one very wide track."},
	{5, "BenQ GW2486TC", "BNQ-GW2486", 189_00, 40, "A calm 24-inch office screen with USB-C, flicker-free backlight and a noise-cancelling microphone."},

	{7, "Keychron K2 Mechanical Keyboard", "KEY-K2-BRN", 89_00, 60, "75 % layout, hot-swappable brown switches, Bluetooth for three devices or a cable for none."},
	{7, "Logitech MX Keys S", "LOG-MXKEYS", 119_00, 45, "Quiet, low keys that light up when your hands come near. Charges by USB-C."},
	{7, "Cherry Stream Keyboard", "CHE-STREAM", 34_90, 80, "A plain, silent keyboard with a metal plate inside, made to be typed on all day."},
	{8, "Logitech MX Master 3S", "LOG-MXM3S", 99_00, 55, "Eight quiet buttons and a wheel that scrolls a thousand lines in a second."},
	{8, "Razer DeathAdder V3", "RAZ-DAV3", 69_90, 38, "59 grams, 30,000 dpi and the shape that won a decade of tournaments."},
	{8, "Logitech Ergo M575 Trackball", "LOG-M575", 49_90, 27, "The mouse stays where it is; only your thumb moves."},

	{9, "Samsung 990 Pro SSD 2 TB", "SAM-990P-2TB", 169_00, 70, "NVMe storage at up to 7,450 MB/s, with five years of warranty."},
	{9, "Crucial X9 Portable SSD 1 TB", "CRU-X9-1TB", 84_90, 64, "A terabyte the size of a matchbox that survives a fall from the desk."},
	{9, "WD Red Plus 8 TB", "WD-RED-8TB", 199_00, 19, "A hard disk made to run day and night in a home server."},

	{10, "Linen Midi Dress", "MOD-W-DRESS-LIN", 79_90, 26, "European linen, a belt at the waist and pockets where they belong."},
	{10, "Merino Roll-Neck Pullover", "MOD-W-MERINO", 69_90, 33, "Fine merino wool that warms without scratching. Machine washable at 30 °C."},
	{10, "Wide-Leg Jeans", "MOD-W-JEANS-WL", 64_90, 41, "High waist, wide leg, organic cotton with two per cent of stretch."},
	{10, "Café Silk Scarf", "MOD-W-SCARF", 49_00, 17, "Hand-rolled mulberry silk, 90 by 90 centimetres, printed in Como."},
	{11, "Oxford Cotton Shirt", "MOD-M-OXFORD", 49_90, 52, "Heavy oxford cloth that looks better with each wash. Regular fit."},
	{11, "Slim Chino Trousers", "MOD-M-CHINO", 54_90, 47, "Cotton twill, slim but not tight, in a blue that goes with everything."},
	{11, "Waxed Field Jacket", "MOD-M-JACKET-WX", 189_00, 14, "Waxed cotton with a corduroy collar. Rain runs off, and it can be waxed again."},
	{12, "Adidas Stan Smith", "ADI-STAN-42", 99_95, 36, "The white tennis shoe of 1971, today with an upper of recycled material."},
	{12, "Clarks Desert Boot", "CLA-DESERT-43", 129_00, 21, "Two pieces of suede and a crepe sole; unchanged since 1950."},
	{12, "Nike Pegasus 41", "NIK-PEG41-42", 139_90, 29, "The daily running shoe: soft enough for long runs, light enough for quick ones."},
	{13, "Casio F-91W", "CAS-F91W", 19_90, 120, "The digital watch. Alarm, stopwatch, and seven years on one battery."},
	{13, "Seiko 5 Sports Automatic", "SEI-5-SRPD", 279_00, 8, "A mechanical movement that winds itself, water-resistant to 100 metres."},

	{14, "The Legend of Zelda: Tears of the Kingdom", "NIN-ZELDA-TOTK", 59_99, 44, "A kingdom on the ground, one in the sky, and everything you can build in between."},
	{14, "Elden Ring", "FRO-ELDEN", 49_99, 35, "An open world that does not hold your hand, and is all the better for it."},
	{14, "EA Sports FC 26", "EA-FC26", 69_99, 58, "This season's football, with women's and men's leagues and cross-play."},
	{15, "Nintendo Switch OLED", "NIN-SW-OLED", 319_00, 16, "On the television, on the table or in the hand, now with a 7-inch OLED screen."},
	{15, "Sony PlayStation 5 Slim", "SON-PS5-SLIM", 479_00, 10, "1 TB, a disc drive and load times that you will forget about."},
	{16, "Catan", "KOS-CATAN", 39_90, 30, "Trade wheat for clay and settle the island. Three or four players, about 75 minutes."},
	{16, "Carcassonne", "HIG-CARCAS", 32_90, 28, "Lay tiles, claim towns, roads and fields. Two to five players, about 40 minutes."},
	{16, "Ticket to Ride Europe", "DOW-TTR-EU", 44_90, 0, "Build railways from Edinburgh to Constantinople. Two to five players, about an hour."},
}

// Demo fills an empty catalogue with categories, products and their stock. Where there is any category
// or product already it does nothing.
func Demo(ctx context.Context, db *sqldb.DB, currency api.Currency, now time.Time) error {
	err := db.Tx(ctx, func(tx *sqldb.Tx) error {
		for _, query := range []string{`SELECT category_id FROM categories`, `SELECT product_id FROM products`} {
			if n, err := sqldb.Count(ctx, tx, 1, query); err != nil || n > 0 {
				return err
			}
		}
		return fillDemo(ctx, tx, currency, now)
	})
	if err != nil && !errors.Is(err, sqldb.ErrConflict) { // a conflict: another replica filled it just now
		return fmt.Errorf("demo catalogue: %w", err)
	}
	return nil
}

func fillDemo(ctx context.Context, tx *sqldb.Tx, currency api.Currency, now time.Time) error {
	at := sqldb.Instant(now)
	for i, category := range demoCategories {
		var parent any
		if category.parent != 0 {
			parent = category.parent
		}
		_, err := tx.Exec(ctx, `INSERT INTO categories (category_id, parent_id, title, created_at, updated_at) VALUES (?, ?, ?, ?, ?)`,
			i+1, parent, category.title, at, at)
		if err != nil {
			return fmt.Errorf("category %q: %w", category.title, err)
		}
		if err := journal.Append(ctx, tx, "category", api.ID(i+1), "CREATED", nil, now); err != nil {
			return err
		}
	}
	for i, product := range demoProducts {
		id := api.ID(i + 1)
		_, err := tx.Exec(ctx, `INSERT INTO products (product_id, category_id, title, image_url, sku, description, price, currency,
			on_hand, reserved, published, version, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, TRUE, 1, ?, ?)`,
			id, product.category, product.title, contextPath+"/api/products/"+id.String()+"/image.svg", product.sku, product.description,
			demoPrice(product.cents, currency), currency.Code, product.stock, at, at)
		if err != nil {
			return fmt.Errorf("product %q: %w", product.title, err)
		}
		if err := indexProduct(ctx, tx, api.Product{ProductID: id, ProductTitle: &product.title, SKU: &product.sku}); err != nil {
			return err
		}
		if err := journal.Append(ctx, tx, "product", id, "CREATED", nil, now); err != nil {
			return err
		}
		if product.stock == 0 {
			continue
		}
		_, err = tx.Exec(ctx, `INSERT INTO stock_movements (product_id, quantity, reason, note, balance, actor, created_at)
			VALUES (?, ?, ?, 'demo', ?, 'demo', ?)`, id, product.stock, api.MovementReceived, product.stock, at)
		if err != nil {
			return fmt.Errorf("stock of %q: %w", product.title, err)
		}
	}
	return nil
}

// demoPrice is a price in minor units of a currency that may not have hundredths.
func demoPrice(cents int64, currency api.Currency) int64 {
	minor := cents
	for range currency.Digits {
		minor *= 10
	}
	return minor / 100
}
