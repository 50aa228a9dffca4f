import Foundation

/// What a parcel may weigh.
enum Limit: Double {
    case letter = 0.5
    case parcel = 20.0
}

protocol Shippable {
    var weight: Double { get }
    func label(for country: String) -> String
}

struct Parcel: Shippable {
    let weight: Double
    var tags: [String: Int] = [:]

    func label(for country: String) -> String {
        let size = weight > Limit.letter.rawValue ? "large" : "small"
        return "\(size) to \(country.uppercased())"
    }
}

final class Depot {
    private var parcels: [Parcel] = []

    func accept(_ parcel: Parcel) throws {
        guard parcel.weight <= Limit.parcel.rawValue else {
            throw DepotError.tooHeavy(parcel.weight)
        }
        parcels.append(parcel)
    }

    func total() -> Double {
        parcels.map { $0.weight }.reduce(0, +)
    }
}

enum DepotError: Error {
    case tooHeavy(Double)
}

let depot = Depot()
do {
    try depot.accept(Parcel(weight: 3.2, tags: ["fragile": 1]))
} catch DepotError.tooHeavy(let weight) {
    print("too heavy: \(weight)") // sent back
}

if let first = ["a", "b"].first {
    print(first)
} else {
    print("""
    nothing
    """)
}
